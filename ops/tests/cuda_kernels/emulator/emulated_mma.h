// What mma.cuh says in PTX, by the PTX ISA's description of it: which lane holds which number of a fragment.
#pragma once

#include "cuda_bf16.h"

namespace emulator {

inline float half_of(unsigned pair, int which) { return __uint_as_float(which ? pair & 0xffff0000u : pair << 16); }

struct Product {
    float (*acc)[4];
    const unsigned (*a)[4];
    unsigned b[2];
};

// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
inline void product(void *const (&lanes)[32]) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        const auto *own = static_cast<Product *>(lanes[lane]);
        const int group = lane >> 2, in_group = lane % 4;
        for (int i = 0; i < 8; ++i) {
            const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
            const int col = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
            a[row][col] = half_of((*own->a)[i / 2], i % 2);
        }
        for (int i = 0; i < 4; ++i) b[in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0)][group] = half_of(own->b[i / 2], i % 2);
    }
    for (int lane = 0; lane < 32; ++lane) {
        float(&acc)[4] = *static_cast<Product *>(lanes[lane])->acc;
        for (int i = 0; i < 4; ++i) {
            const int row = (lane >> 2) + (i < 2 ? 0 : 8), col = lane % 4 * 2 + (i & 1);
            float sum = acc[i];
            for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][col];
            acc[i] = sum;
        }
    }
}

struct Matrices {
    unsigned (*r)[4];
    const void *row;
};

// ldmatrix.sync.aligned.m8n8.x4: thread t gets, of each matrix, numbers 2 (t % 4) and the next of row t / 4; transposed,
// of column t / 4.
template <bool TRANSPOSED> void matrices(void *const (&lanes)[32]) {
    for (int matrix = 0; matrix < 4; ++matrix) {
        unsigned short all[8][8];
        for (int row = 0; row < 8; ++row) {
            std::memcpy(all[row], static_cast<Matrices *>(lanes[matrix * 8 + row])->row, sizeof all[row]);
        }
        for (int lane = 0; lane < 32; ++lane) {
            const int i = lane / 4, j = lane % 4 * 2;
            const unsigned low = TRANSPOSED ? all[j][i] : all[i][j];
            const unsigned high = TRANSPOSED ? all[j + 1][i] : all[i][j + 1];
            (*static_cast<Matrices *>(lanes[lane])->r)[matrix] = low | high << 16;
        }
    }
}

} // namespace emulator

inline void mma(float (&acc)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    emulator::Product own{&acc, &a, {b0, b1}};
    emulator::meet(emulator::product, &own);
}

inline void ldmatrix(unsigned (&r)[4], const void *shared) {
    emulator::check_shared(shared);
    emulator::Matrices own{&r, shared};
    emulator::meet(emulator::matrices<false>, &own);
}

inline void ldmatrix_transposed(unsigned (&r)[4], const void *shared) {
    emulator::check_shared(shared);
    emulator::Matrices own{&r, shared};
    emulator::meet(emulator::matrices<true>, &own);
}

inline void copy_async(void *shared, const void *from, bool there) {
    emulator::check_shared(shared);
    emulator::later(shared, from, there);
}

inline void copy_async_wait() { emulator::finish_copies(); }

inline float exp2_fast(float x) { return exp2f(x); }

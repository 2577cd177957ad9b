// Products of bf16 summed in f32 by the tensor cores: mma.sync.m16n8k16, whose fragments the PTX ISA lays out so, with
// g = lane / 4 and t = lane % 4: of A, registers 0 to 3 hold rows g, g + 8, g, g + 8 at columns 2t, 2t, 2t + 8, 2t + 8
// and the next; of B, registers 0 and 1 hold column g at rows 2t and 2t + 8 and the next; of the sums, 0 and 1 are row g
// at columns 2t and 2t + 1, 2 and 3 are row g + 8. So two tiles of sums side by side are, packed, a fragment of A.
#pragma once

#include "common.cuh"

#ifdef LONGMAE_EMULATED
#include "emulated_mma.h"
#else

// acc += a * b.
__device__ __forceinline__ void mma(float (&acc)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ unsigned shared_address(const void *shared) {
    return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// Four matrices of 8 x 8, of which lane l gives the place of row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix(unsigned (&r)[4], const void *shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared)));
}

// The same, each matrix transposed.
__device__ __forceinline__ void ldmatrix_transposed(unsigned (&r)[4], const void *shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared)));
}

// Copies 16 bytes without waiting for them, or zeros where there is nothing; `from` is a place that may be read even so.
__device__ __forceinline__ void copy_async(void *shared, const void *from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

// Waits for all of this thread's copies.
__device__ __forceinline__ void copy_async_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// 2^x, to two units in the last place.
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif

constexpr int MMA_WARPS = 4;
constexpr int MMA_THREADS = 32 * MMA_WARPS;

// Rows of a tile in shared memory are 16 bytes longer than they need be, so that eight of them lie in different banks.
constexpr int MMA_PAD = 8;

template <int ROWS, int W> using Tile = bf16[ROWS][W + MMA_PAD];

__device__ __forceinline__ int lane() { return threadIdx.x % 32; }

// Begins to copy a tile of rows; what is beyond `valid` rows or `width` numbers is zero.
template <int ROWS, int W>
__device__ __forceinline__ void mma_load(Tile<ROWS, W> &tile, const bf16 *from, size_t stride, int valid, int width) {
    constexpr int CHUNKS = W / 8;
#pragma unroll
    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += MMA_THREADS) {
        const int row = i / CHUNKS, col = i % CHUNKS * 8;
        const bool there = row < valid && col < width;
        copy_async(&tile[row][col], there ? from + row * stride + col : from, there);
    }
}

// Reads this warp's 16 rows as fragments of A, straight from memory; what is beyond is zero.
template <int W>
__device__ __forceinline__ void mma_rows(unsigned (&a)[W / 16][4], const bf16 *from, size_t stride, int valid,
                                         int width) {
#pragma unroll
    for (int step = 0; step < W / 16; ++step)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = lane() / 4 + i % 2 * 8, col = step * 16 + i / 2 * 8 + lane() % 4 * 2;
            const bool there = row < valid && col < width;
            a[step][i] = there ? *reinterpret_cast<const unsigned *>(from + row * stride + col) : 0;
        }
}

// acc = a * tile^T: this warp's M times 16 rows by the tile's N.
template <int W, int N, int M>
__device__ __forceinline__ void mma_scores(float (&acc)[M][N / 8][4], const unsigned (&a)[M][W / 16][4],
                                           const Tile<N, W> &tile) {
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < N / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) acc[m][n][i] = 0.0f;
    const int row = lane() / 16 * 8 + lane() % 8, col = lane() / 8 % 2 * 8;
#pragma unroll
    for (int step = 0; step < W / 16; ++step)
#pragma unroll
        for (int pair = 0; pair < N / 16; ++pair) {
            unsigned b[4];
            ldmatrix(b, &tile[pair * 16 + row][step * 16 + col]);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                mma(acc[m][2 * pair], a[m][step], b[0], b[1]);
                mma(acc[m][2 * pair + 1], a[m][step], b[2], b[3]);
            }
        }
}

// acc += a * tile: this warp's M times 16 rows of weights by the tile's N rows.
template <int W, int N, int M>
__device__ __forceinline__ void mma_accumulate(float (&acc)[M][W / 8][4], const unsigned (&a)[M][N / 16][4],
                                               const Tile<N, W> &tile) {
    const int row = lane() / 8 % 2 * 8 + lane() % 8, col = lane() / 16 * 8;
#pragma unroll
    for (int step = 0; step < N / 16; ++step)
#pragma unroll
        for (int pair = 0; pair < W / 16; ++pair) {
            unsigned b[4];
            ldmatrix_transposed(b, &tile[step * 16 + row][pair * 16 + col]);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                mma(acc[m][2 * pair], a[m][step], b[0], b[1]);
                mma(acc[m][2 * pair + 1], a[m][step], b[2], b[3]);
            }
        }
}

// Sums, rounded, as the next product's fragments of A.
template <int N, int M>
__device__ __forceinline__ void mma_operand(unsigned (&a)[M][N / 16][4], const float (&acc)[M][N / 8][4]) {
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int step = 0; step < N / 16; ++step)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float(&two)[4] = acc[m][2 * step + i / 2];
                a[m][step][i] = pack(two[i % 2 * 2], two[i % 2 * 2 + 1]);
            }
}

// Writes 16 rows of sums to memory, each times a factor: rows lane / 4 and lane / 4 + 8 have their own.
template <int W>
__device__ __forceinline__ void mma_write(bf16 *to, size_t stride, const float (&acc)[W / 8][4],
                                          const float (&factors)[2], int valid, int width) {
#pragma unroll
    for (int n = 0; n < W / 8; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = lane() / 4 + half * 8, col = n * 8 + lane() % 4 * 2;
            if (row >= valid || col >= width) continue;
            const unsigned two = pack(acc[n][2 * half] * factors[half], acc[n][2 * half + 1] * factors[half]);
            *reinterpret_cast<unsigned *>(to + row * stride + col) = two;
        }
}

// Lets a C++ compiler build device code for the CPU, as far as this crate's kernels go. The threads of a block are fibers,
// which run one at a time, each until it has to wait for others.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// One block runs at a time, so that its memory can be static; in a section, so that it can be spoiled before each block.
#define __shared__ static __attribute__((section("shared_memory")))

struct dim3 {
    unsigned x, y, z;
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

struct __align__(16) float4 {
    float x, y, z, w;
};
struct __align__(8) uint2 {
    unsigned x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }
using std::max;
using std::min;

namespace emulator {

// What all lanes of a warp do together, given what each has brought.
using Operation = void (*)(void *const (&lanes)[32]);

// Waits for the warp's other lanes, which must come to the same operation; then it is done, once for all.
void meet(Operation operation, void *argument);

// Ends the launch with an error.
[[noreturn]] void fail(const char *format, ...);

// Keeps a copy of 16 bytes, or of zeros, until `finish_copies`, as a device may.
void later(void *to, const void *from, bool there);
void finish_copies();

// Fails if these are not 16 aligned bytes of a block's shared memory.
void check_shared(const void *place);

template <class A> struct Exchange {
    A value;
    int other;
    A result;
};

template <class A> void exchange(void *const (&lanes)[32]) {
    for (int lane = 0; lane < 32; ++lane) {
        auto *own = static_cast<Exchange<A> *>(lanes[lane]);
        own->result = static_cast<Exchange<A> *>(lanes[lane ^ own->other])->value;
    }
}

struct Vote {
    bool yes;
    unsigned result;
};

inline void ballot(void *const (&lanes)[32]) {
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) votes |= unsigned(static_cast<Vote *>(lanes[lane])->yes) << lane;
    for (void *lane : lanes) static_cast<Vote *>(lane)->result = votes;
}

inline void nothing(void *const (&)[32]) {}

inline void check_mask(unsigned mask) {
    if (mask != 0xffffffffu) fail("an operation of some lanes, %08x, of which the emulator knows nothing", mask);
}

} // namespace emulator

void __syncthreads();
inline void __syncwarp() { emulator::meet(emulator::nothing, nullptr); }

template <class A> A __shfl_xor_sync(unsigned mask, A value, int other) {
    emulator::check_mask(mask);
    emulator::Exchange<A> own{value, other, A()};
    emulator::meet(emulator::exchange<A>, &own);
    return own.result;
}

inline unsigned __ballot_sync(unsigned mask, bool yes) {
    emulator::check_mask(mask);
    emulator::Vote own{yes, 0};
    emulator::meet(emulator::ballot, &own);
    return own.result;
}

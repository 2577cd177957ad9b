// What all kernels share: the two number types, loads and stores of four numbers, sums in a fixed order.
#pragma once

#include <cuda_bf16.h>

using bf16 = __nv_bfloat16;

constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr float LOG2_E = 1.4426950408889634f;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }

template <class T> __device__ __forceinline__ T rounded(float x);
template <> __device__ __forceinline__ float rounded<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 rounded<bf16>(float x) { return __float2bfloat16_rn(x); }

// Two numbers in a register, the first in the lower half.
__device__ __forceinline__ unsigned pack(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const unsigned *>(&pair);
}

// Tells a generic lambda how many numbers it is to take.
template <int N> struct Count {
    static constexpr int value = N;
};

__device__ __forceinline__ void load(const float *from, float (&to)[1]) { to[0] = *from; }
__device__ __forceinline__ void load(const bf16 *from, float (&to)[1]) { to[0] = to_float(*from); }
__device__ __forceinline__ void load(const float *from, float (&to)[4]) {
    const float4 x = *reinterpret_cast<const float4 *>(from);
    to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
}
__device__ __forceinline__ void load(const bf16 *from, float (&to)[4]) {
    const uint2 x = *reinterpret_cast<const uint2 *>(from);
    to[0] = __uint_as_float(x.x << 16), to[1] = __uint_as_float(x.x & 0xffff0000u);
    to[2] = __uint_as_float(x.y << 16), to[3] = __uint_as_float(x.y & 0xffff0000u);
}

template <class T> __device__ __forceinline__ void store(T *to, const float (&from)[1]) { *to = rounded<T>(from[0]); }
__device__ __forceinline__ void store(float *to, const float (&from)[4]) {
    *reinterpret_cast<float4 *>(to) = make_float4(from[0], from[1], from[2], from[3]);
}
__device__ __forceinline__ void store(bf16 *to, const float (&from)[4]) {
    *reinterpret_cast<uint2 *>(to) = make_uint2(pack(from[0], from[1]), pack(from[2], from[3]));
}

// Whether four numbers may be read and written at once from these places on.
template <class... P> __device__ __forceinline__ bool aligned(P... places) {
    return ((reinterpret_cast<size_t>(places) % 16 == 0) && ...);
}

// Calls f(place, count) for all n numbers, in fours where that is allowed; this is worker `first` of `step`.
template <class I, class F> __device__ __forceinline__ void strided(I n, bool fours, I first, I step, F f) {
    I whole = 0;
    if (fours) {
        whole = n - n % 4;
        for (I i = first * 4; i < whole; i += step * 4) f(i, Count<4>{});
    }
    for (I i = whole + first; i < n; i += step) f(i, Count<1>{});
}

// Over n numbers by all threads of all blocks.
template <class F> __device__ __forceinline__ void over_grid(size_t n, bool fours, F f) {
    const size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    strided<size_t>(n, fours, first, static_cast<size_t>(gridDim.x) * blockDim.x, f);
}

// Over a row by the threads of a block.
template <class F> __device__ __forceinline__ void over_block(int n, bool fours, F f) {
    strided<int>(n, fours, threadIdx.x, blockDim.x, f);
}

// Over a row by the lanes of a warp.
template <class F> __device__ __forceinline__ void over_warp(int n, bool fours, F f) {
    strided<int>(n, fours, threadIdx.x % 32, 32, f);
}

// The row of a kernel that gives each warp one.
__device__ __forceinline__ size_t warp_row() {
    return static_cast<size_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
}

// The sum over the first `LANES` lanes' group, in every lane of it.
template <int LANES = 32, class A> __device__ __forceinline__ A warp_sum(A x) {
#pragma unroll
    for (int other = LANES / 2; other > 0; other /= 2) x += __shfl_xor_sync(ALL_LANES, x, other);
    return x;
}

// The sum over a block, in every thread; `room` has a number for each warp.
template <class A> __device__ __forceinline__ A block_sum(A x, A *room) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
    __syncthreads();
    A total = 0;
    for (int warp = 0; warp < static_cast<int>(blockDim.x / 32); ++warp) total += room[warp];
    __syncthreads();
    return total;
}

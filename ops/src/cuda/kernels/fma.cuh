// Products of f32 by fused multiply-adds: 256 threads as 16 x 16, each with a register tile. A thread has neighbouring
// rows and every sixteenth column, so that 16 neighbouring lanes share rows and read neighbouring numbers.
#pragma once

#include "common.cuh"

constexpr int FMA_SIDE = 16;
constexpr int FMA_THREADS = FMA_SIDE * FMA_SIDE;

// Rows of a tile in shared memory are four numbers longer than they need be, against bank conflicts.
constexpr int FMA_PAD = 4;

__device__ __forceinline__ int fma_row() { return threadIdx.x / FMA_SIDE; }
__device__ __forceinline__ int fma_col() { return threadIdx.x % FMA_SIDE; }

// Reads a tile of rows; what is beyond `valid` rows or `width` numbers is zero.
template <int ROWS, int W>
__device__ __forceinline__ void fma_load(float (&tile)[ROWS][W + FMA_PAD], const float *from, size_t stride, int valid,
                                         int width) {
    for (int i = threadIdx.x; i < ROWS * W / 4; i += FMA_THREADS) {
        const int row = i / (W / 4), col = i % (W / 4) * 4;
        float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (row < valid && col < width) x = *reinterpret_cast<const float4 *>(from + row * stride + col);
        *reinterpret_cast<float4 *>(&tile[row][col]) = x;
    }
}

// acc = a * b^T, of tiles `[rows][W]`.
template <int W, int A, int B, int R, int C>
__device__ __forceinline__ void fma_scores(float (&acc)[R][C], const float (&a)[A][W + FMA_PAD],
                                           const float (&b)[B][W + FMA_PAD]) {
    static_assert(R * FMA_SIDE == A && C * FMA_SIDE == B, "a register tile for each thread");
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
        for (int c = 0; c < C; ++c) acc[r][c] = 0.0f;
#pragma unroll 4
    for (int k = 0; k < W; k += 4) {
        float4 left[R];
#pragma unroll
        for (int r = 0; r < R; ++r) left[r] = *reinterpret_cast<const float4 *>(&a[fma_row() * R + r][k]);
#pragma unroll
        for (int c = 0; c < C; ++c) {
            const float4 right = *reinterpret_cast<const float4 *>(&b[fma_col() + FMA_SIDE * c][k]);
#pragma unroll
            for (int r = 0; r < R; ++r) {
                acc[r][c] += left[r].x * right.x;
                acc[r][c] += left[r].y * right.y;
                acc[r][c] += left[r].z * right.z;
                acc[r][c] += left[r].w * right.w;
            }
        }
    }
}

// acc += a * b, of `a` `[rows][N]` and `b` `[N][W]`.
template <int W, int A, int N, int R, int C>
__device__ __forceinline__ void fma_accumulate(float (&acc)[R][C], const float (&a)[A][N + FMA_PAD],
                                               const float (&b)[N][W + FMA_PAD]) {
    static_assert(R * FMA_SIDE == A && C * FMA_SIDE == W, "a register tile for each thread");
#pragma unroll 2
    for (int k = 0; k < N; k += 4) {
        float left[R][4];
#pragma unroll
        for (int r = 0; r < R; ++r) load(&a[fma_row() * R + r][k], left[r]);
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int c = 0; c < C; ++c) {
                const float right = b[k + j][fma_col() + FMA_SIDE * c];
#pragma unroll
                for (int r = 0; r < R; ++r) acc[r][c] += left[r][j] * right;
            }
    }
}

// Puts the register tiles into a tile in shared memory, which only the warp's own lanes read.
template <int A, int N, int R, int C>
__device__ __forceinline__ void fma_store(float (&tile)[A][N + FMA_PAD], const float (&acc)[R][C]) {
    static_assert(R * FMA_SIDE == A && C * FMA_SIDE == N, "a register tile for each thread");
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
        for (int c = 0; c < C; ++c) tile[fma_row() * R + r][fma_col() + FMA_SIDE * c] = acc[r][c];
}

// Writes acc * factor to rows in memory, those below `valid` and columns below `width`.
template <int R, int C>
__device__ __forceinline__ void fma_write(float *to, size_t stride, const float (&acc)[R][C], float factor, int valid,
                                          int width) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
        const int row = fma_row() * R + r;
#pragma unroll
        for (int c = 0; c < C; ++c) {
            const int col = fma_col() + FMA_SIDE * c;
            if (row < valid && col < width) to[row * stride + col] = acc[r][c] * factor;
        }
    }
}

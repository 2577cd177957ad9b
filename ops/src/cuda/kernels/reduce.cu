// Sums over rows in two steps, so that their order is fixed: chunks of rows by themselves, then the chunks.

#include "common.cuh"

template <class T>
__device__ void column_partials(const T *x, float *partial, int rows, int cols, int rows_per_chunk) {
    const int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= cols) return;
    const size_t start = static_cast<size_t>(blockIdx.y) * rows_per_chunk;
    const size_t end = min(start + rows_per_chunk, static_cast<size_t>(rows));
    float sum = 0.0f;
    for (size_t row = start; row < end; ++row) sum += to_float(x[row * cols + col]);
    partial[static_cast<size_t>(blockIdx.y) * cols + col] = sum;
}

// Both: grid (ceil(cols / 128), chunks), block 128. `partial` `[chunks][cols]`.
extern "C" __global__ void column_partials_f32(const float *x, float *partial, int rows, int cols,
                                               int rows_per_chunk) {
    column_partials(x, partial, rows, cols, rows_per_chunk);
}
extern "C" __global__ void column_partials_bf16(const bf16 *x, float *partial, int rows, int cols,
                                                int rows_per_chunk) {
    column_partials(x, partial, rows, cols, rows_per_chunk);
}

// grid ceil(cols / 32), block 256: eight warps take every eighth chunk, and their sums are added in order.
extern "C" __global__ void column_finish(const float *partial, float *out, int chunks, int cols, int accumulate) {
    __shared__ float sums[8][32];
    const int lane = threadIdx.x % 32, group = threadIdx.x / 32, col = blockIdx.x * 32 + lane;
    float sum = 0.0f;
    if (col < cols) {
        for (int chunk = group; chunk < chunks; chunk += 8) sum += partial[static_cast<size_t>(chunk) * cols + col];
    }
    sums[group][lane] = sum;
    __syncthreads();
    if (group != 0 || col >= cols) return;
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) total += sums[i][lane];
    out[col] = accumulate ? out[col] + total : total;
}

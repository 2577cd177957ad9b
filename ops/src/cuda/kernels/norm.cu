// Layer norm (arXiv 1607.06450) with the biased variance. A warp has a row: it reads it again for each pass, from the
// first-level cache.

#include "common.cuh"

template <class T>
__device__ void norm_forward(const float *x, const float *weight, const float *bias, T *out, float *moments, int rows,
                             int dim, float eps) {
    const size_t row = warp_row();
    if (row >= rows) return;
    x += row * dim, out += row * dim;
    const bool fours = dim % 4 == 0 && aligned(x, weight, bias, out);
    float sum = 0.0f;
    over_warp(dim, fours, [&](int i, auto count) {
        float v[decltype(count)::value];
        load(x + i, v);
        for (float one : v) sum += one;
    });
    const float mean = warp_sum(sum) / dim;
    float squares = 0.0f;
    over_warp(dim, fours, [&](int i, auto count) {
        float v[decltype(count)::value];
        load(x + i, v);
        for (float one : v) squares += (one - mean) * (one - mean);
    });
    const float scale = 1.0f / sqrtf(warp_sum(squares) / dim + eps);
    over_warp(dim, fours, [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        float v[N], w[N], b[N];
        load(x + i, v), load(weight + i, w), load(bias + i, b);
#pragma unroll
        for (int j = 0; j < N; ++j) v[j] = (v[j] - mean) * scale * w[j] + b[j];
        store(out + i, v);
    });
    if (threadIdx.x % 32 == 0) moments[2 * row] = mean, moments[2 * row + 1] = scale;
}

// With xhat the normalised row and g = dy * weight: scale * (g - mean(g) - xhat * mean(g * xhat)).
template <class T>
__device__ void norm_backward(const float *x, const float *weight, const float *moments, const T *dy, const float *add,
                              float *dx, int rows, int dim) {
    const size_t row = warp_row();
    if (row >= rows) return;
    x += row * dim, dy += row * dim, dx += row * dim;
    if (add) add += row * dim;
    const float mean = moments[2 * row], scale = moments[2 * row + 1];
    const bool fours = dim % 4 == 0 && aligned(x, weight, dy, add, dx);
    float sum = 0.0f, product = 0.0f;
    over_warp(dim, fours, [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        float v[N], w[N], g[N];
        load(x + i, v), load(weight + i, w), load(dy + i, g);
#pragma unroll
        for (int j = 0; j < N; ++j) sum += g[j] * w[j], product += g[j] * w[j] * (v[j] - mean) * scale;
    });
    sum = warp_sum(sum) / dim, product = warp_sum(product) / dim;
    over_warp(dim, fours, [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        float v[N], w[N], g[N], more[N] = {};
        load(x + i, v), load(weight + i, w), load(dy + i, g);
        if (add) load(add + i, more);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            more[j] += scale * (g[j] * w[j] - sum - (v[j] - mean) * scale * product);
        }
        store(dx + i, more);
    });
}

// A thread has a column of a chunk of rows.
template <class T>
__device__ void norm_parameters(const float *x, const float *moments, const T *dy, float *partial, int rows, int dim,
                                int rows_per_chunk) {
    const int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= dim) return;
    const size_t start = static_cast<size_t>(blockIdx.y) * rows_per_chunk;
    const size_t end = min(start + rows_per_chunk, static_cast<size_t>(rows));
    float weight = 0.0f, bias = 0.0f;
    for (size_t row = start; row < end; ++row) {
        const float slope = to_float(dy[row * dim + col]);
        weight += slope * (x[row * dim + col] - moments[2 * row]) * moments[2 * row + 1];
        bias += slope;
    }
    partial += static_cast<size_t>(blockIdx.y) * 2 * dim;
    partial[col] = weight, partial[dim + col] = bias;
}

// norm_forward: grid ceil(rows / 4), block 128. `moments` `[rows][2]`: mean, 1 / sqrt(var + eps).
// norm_backward: grid ceil(rows / 4), block 128. `add` may be null, or `dx` itself.
// norm_parameters: grid (ceil(dim / 128), chunks), block 128. `partial` `[chunks][2][dim]`: sums of dy * xhat, of dy.
#define KERNELS(SUFFIX, T)                                                                                            \
    extern "C" __global__ void norm_forward_##SUFFIX(const float *x, const float *weight, const float *bias, T *out, \
                                                     float *moments, int rows, int dim, float eps) {                 \
        norm_forward<T>(x, weight, bias, out, moments, rows, dim, eps);                                               \
    }                                                                                                                 \
    extern "C" __global__ void norm_backward_##SUFFIX(const float *x, const float *weight, const float *moments,      \
                                                      const T *dy, const float *add, float *dx, int rows, int dim) {  \
        norm_backward<T>(x, weight, moments, dy, add, dx, rows, dim);                                                 \
    }                                                                                                                 \
    extern "C" __global__ void norm_parameters_##SUFFIX(const float *x, const float *moments, const T *dy,            \
                                                        float *partial, int rows, int dim, int rows_per_chunk) {      \
        norm_parameters<T>(x, moments, dy, partial, rows, dim, rows_per_chunk);                                       \
    }
KERNELS(f32, float)
KERNELS(bf16, bf16)
#undef KERNELS

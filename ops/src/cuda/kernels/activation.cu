// Number by number: the exact GELU (arXiv 1606.08415), and a sample's factor on its branch (drop path).

#include "common.cuh"

constexpr float ROOT_HALF = 0.70710678118654752f;
constexpr float INVERSE_ROOT_TWO_PI = 0.39894228040143268f;

__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + erff(x * ROOT_HALF)); }

__device__ __forceinline__ float gelu_slope(float x) {
    return 0.5f * (1.0f + erff(x * ROOT_HALF)) + x * INVERSE_ROOT_TWO_PI * expf(-0.5f * x * x);
}

template <class T> __device__ void gelu_forward(const T *before, T *after, size_t n) {
    over_grid(n, aligned(before, after), [&](size_t i, auto count) {
        float x[decltype(count)::value];
        load(before + i, x);
        for (float &one : x) one = gelu(one);
        store(after + i, x);
    });
}

template <class T> __device__ void gelu_backward(const T *before, T *dy, size_t n) {
    over_grid(n, aligned(before, dy), [&](size_t i, auto count) {
        constexpr int N = decltype(count)::value;
        float x[N], slope[N];
        load(before + i, x), load(dy + i, slope);
#pragma unroll
        for (int j = 0; j < N; ++j) slope[j] *= gelu_slope(x[j]);
        store(dy + i, slope);
    });
}

// The factor of the sample that number i of n belongs to; a division of 32 bits costs a fraction of one of 64.
__device__ __forceinline__ float factor(const float *scales, size_t i, size_t n, size_t per_sample) {
    if (!scales) return 1.0f;
    if (n <= 0xffffffffu) return scales[static_cast<unsigned>(i) / static_cast<unsigned>(per_sample)];
    return scales[i / per_sample];
}

template <class T>
__device__ void scale_cast(const float *x, const float *scales, T *out, size_t n, size_t per_sample) {
    over_grid(n, per_sample % 4 == 0 && aligned(x, out), [&](size_t i, auto count) {
        float v[decltype(count)::value];
        load(x + i, v);
        const float by = factor(scales, i, n, per_sample);
        for (float &one : v) one *= by;
        store(out + i, v);
    });
}

// All here: block 256, any grid: ceil(n / 1024) blocks give each thread four numbers.
#define KERNELS(SUFFIX, T)                                                                                         \
    extern "C" __global__ void gelu_forward_##SUFFIX(const T *before, T *after, size_t n) {                        \
        gelu_forward(before, after, n);                                                                            \
    }                                                                                                              \
    extern "C" __global__ void gelu_backward_##SUFFIX(const T *before, T *dy, size_t n) {                          \
        gelu_backward(before, dy, n);                                                                              \
    }                                                                                                              \
    extern "C" __global__ void scale_cast_##SUFFIX(const float *x, const float *scales, T *out, size_t n,          \
                                                   size_t per_sample) {                                            \
        scale_cast(x, scales, out, n, per_sample);                                                                 \
    }
KERNELS(f32, float)
KERNELS(bf16, bf16)
#undef KERNELS

// out = x + scales[sample] * y; null scales are all 1; `out` may be `x` or `y`.
extern "C" __global__ void residual_scaled(const float *x, const float *y, const float *scales, float *out, size_t n,
                                           size_t per_sample) {
    over_grid(n, per_sample % 4 == 0 && aligned(x, y, out), [&](size_t i, auto count) {
        constexpr int N = decltype(count)::value;
        float a[N], b[N];
        load(x + i, a), load(y + i, b);
        const float by = factor(scales, i, n, per_sample);
#pragma unroll
        for (int j = 0; j < N; ++j) a[j] += by * b[j];
        store(out + i, a);
    });
}

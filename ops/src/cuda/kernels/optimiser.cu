// AdamW (arXiv 1711.05101), the gradient's norm, and running averages.

#include "common.cuh"

// grid ceil(n / 1024), block 256. keep = 1 - lr * weight decay, rate = lr / (1 - beta1^t),
// correction = 1 / sqrt(1 - beta2^t).
extern "C" __global__ void adamw(float *value, float *first, float *second, const float *gradient, size_t n,
                                 float beta1, float beta2, float eps, float keep, float rate, float correction,
                                 float gradient_scale) {
    over_grid(n, aligned(value, first, second, gradient), [&](size_t i, auto count) {
        constexpr int N = decltype(count)::value;
        float w[N], m[N], v[N], g[N];
        load(value + i, w), load(first + i, m), load(second + i, v), load(gradient + i, g);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float slope = g[j] * gradient_scale;
            m[j] = fmaf(beta1, m[j], (1.0f - beta1) * slope);
            v[j] = fmaf(beta2, v[j], (1.0f - beta2) * slope * slope);
            const float change = rate * m[j] / fmaf(sqrtf(v[j]), correction, eps);
            w[j] = fmaf(w[j], keep, -change);
        }
        store(value + i, w), store(first + i, m), store(second + i, v);
    });
}

// grid ceil(n / chunk), block 256: a sum of squares for each chunk of numbers.
extern "C" __global__ void squares_partials(const float *x, double *partial, size_t n, int chunk) {
    __shared__ double room[8];
    const size_t start = static_cast<size_t>(blockIdx.x) * chunk;
    const int len = start < n ? static_cast<int>(min(static_cast<size_t>(chunk), n - start)) : 0;
    double sum = 0.0;
    over_block(len, aligned(x + start), [&](int i, auto count) {
        float v[decltype(count)::value];
        load(x + start + i, v);
        for (float one : v) sum += static_cast<double>(one) * one;
    });
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// grid 1, block 256: out[0] = the sum of the partial sums.
extern "C" __global__ void squares_finish(const double *partial, double *out, int count) {
    __shared__ double room[8];
    double sum = 0.0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) out[0] = sum;
}

// grid ceil(n / 1024), block 256: average += (x - average) * weight.
extern "C" __global__ void lerp(float *average, const float *x, size_t n, float weight) {
    over_grid(n, aligned(average, x), [&](size_t i, auto count) {
        constexpr int N = decltype(count)::value;
        float a[N], b[N];
        load(average + i, a), load(x + i, b);
#pragma unroll
        for (int j = 0; j < N; ++j) a[j] = fmaf(b[j] - a[j], weight, a[j]);
        store(average + i, a);
    });
}

// grid ceil(n / 1024), block 256: bit for bit.
extern "C" __global__ void swap(float *a, float *b, size_t n) {
    over_grid(n, aligned(a, b), [&](size_t i, auto count) {
        constexpr int N = decltype(count)::value;
        float x[N], y[N];
        load(a + i, x), load(b + i, y);
        store(a + i, y), store(b + i, x);
    });
}

// grid ceil(n / 1024), block 256: sum += factor * x.
extern "C" __global__ void add_scaled(float *sum, const float *x, size_t n, float factor) {
    over_grid(n, aligned(sum, x), [&](size_t i, auto count) {
        constexpr int N = decltype(count)::value;
        float a[N], b[N];
        load(sum + i, a), load(x + i, b);
#pragma unroll
        for (int j = 0; j < N; ++j) a[j] = fmaf(b[j], factor, a[j]);
        store(sum + i, a);
    });
}

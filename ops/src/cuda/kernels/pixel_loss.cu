// MAE's objective (arXiv 2111.06377): the weighted mean of patches' mean squared errors. A warp has a patch.

#include "common.cuh"

// Added to the variance under the root (arXiv 2111.06377, reference implementation).
constexpr float VARIANCE_EPS = 1e-6f;

// What makes a patch its target: (x - mean) * scale.
struct Target {
    float mean, scale;
};

__device__ Target pixel_target(const float *patch, int pixels, bool fours, int norm_pix) {
    if (!norm_pix) return {0.0f, 1.0f};
    float sum = 0.0f;
    over_warp(pixels, fours, [&](int i, auto count) {
        float v[decltype(count)::value];
        load(patch + i, v);
        for (float one : v) sum += one;
    });
    const float mean = warp_sum(sum) / pixels;
    float squares = 0.0f;
    over_warp(pixels, fours, [&](int i, auto count) {
        float v[decltype(count)::value];
        load(patch + i, v);
        for (float one : v) squares += (one - mean) * (one - mean);
    });
    // A patch of a single value has no variance: its target is zero.
    return {mean, 1.0f / sqrtf(warp_sum(squares) / max(pixels - 1, 1) + VARIANCE_EPS)};
}

// grid ceil(samples * rows / 4), block 128. A prediction has `front` rows that are no patch before its `rows`.
extern "C" __global__ void pixel_errors(const float *pred, const float *patches, const float *weights, float *errors,
                                        int samples, int front, int rows, int pixels, int norm_pix) {
    const size_t patch = warp_row();
    if (patch >= static_cast<size_t>(samples) * rows) return;
    float error = 0.0f;
    if (weights[patch] != 0.0f) {
        const size_t place = patch / rows * (front + rows) + front + patch % rows;
        pred += place * pixels, patches += patch * pixels;
        const bool fours = pixels % 4 == 0 && aligned(pred, patches);
        const Target target = pixel_target(patches, pixels, fours, norm_pix);
        float squares = 0.0f;
        over_warp(pixels, fours, [&](int i, auto count) {
            constexpr int N = decltype(count)::value;
            float p[N], x[N];
            load(pred + i, p), load(patches + i, x);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                const float off = p[j] - (x[j] - target.mean) * target.scale;
                squares += off * off;
            }
        });
        error = weights[patch] * (warp_sum(squares) / pixels);
    }
    if (threadIdx.x % 32 == 0) errors[patch] = error;
}

// grid 1, block 256. `out` `[2]`: the loss, and 1 / the total weight.
extern "C" __global__ void pixel_loss_total(const float *errors, const float *weights, float *out, int count) {
    __shared__ double room[8];
    double error = 0.0, weight = 0.0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) error += errors[i], weight += weights[i];
    error = block_sum(error, room), weight = block_sum(weight, room);
    if (threadIdx.x == 0) out[0] = static_cast<float>(error / weight), out[1] = static_cast<float>(1.0 / weight);
}

// grid ceil(samples * (front + rows) / 4), block 128: every number of `dpred` is written.
extern "C" __global__ void pixel_backward(const float *pred, const float *patches, const float *weights,
                                          const float *out_total, const float *dloss, float *dpred, int samples,
                                          int front, int rows, int pixels, int norm_pix) {
    const size_t place = warp_row();
    if (place >= static_cast<size_t>(samples) * (front + rows)) return;
    const size_t sample = place / (front + rows);
    const int row = static_cast<int>(place % (front + rows)) - front;
    const size_t patch = sample * rows + max(row, 0);
    pred += place * pixels, dpred += place * pixels, patches += patch * pixels;
    const bool fours = pixels % 4 == 0 && aligned(pred, patches, dpred);
    if (row < 0 || weights[patch] == 0.0f) {
        over_warp(pixels, fours, [&](int i, auto count) {
            const float zeros[decltype(count)::value] = {};
            store(dpred + i, zeros);
        });
        return;
    }
    const Target target = pixel_target(patches, pixels, fours, norm_pix);
    const float factor = dloss[0] * 2.0f / pixels * out_total[1] * weights[patch];
    over_warp(pixels, fours, [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        float p[N], x[N];
        load(pred + i, p), load(patches + i, x);
#pragma unroll
        for (int j = 0; j < N; ++j) p[j] = factor * (p[j] - (x[j] - target.mean) * target.scale);
        store(dpred + i, p);
    });
}

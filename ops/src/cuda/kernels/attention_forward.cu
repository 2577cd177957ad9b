// Attention as arXiv 2205.14135 and 2307.08691 do it: a block of queries goes through blocks of keys and values, with the
// maximum and the sum of its exponentials so far, and no scores are ever in memory.

#include "attention.cuh"
#include "fma.cuh"
#include "mma.cuh"

// In f32.
template <int W> struct FmaForward {
    static constexpr int QUERIES = W <= 64 ? 64 : 32, KEYS = 32;
    static constexpr int R = QUERIES / FMA_SIDE, C = KEYS / FMA_SIDE;

    float query[QUERIES][W + FMA_PAD];
    // Keys, then values.
    float stream[KEYS][W + FMA_PAD];
    float weights[QUERIES][KEYS + FMA_PAD];

    // Turns scores into weights, whose sums go on; gives what to scale earlier sums by.
    static __device__ void softmax(float (&scores)[R][C], float (&most)[R], float (&sum)[R], float (&shrink)[R],
                                   float scale, int valid) {
#pragma unroll
        for (int r = 0; r < R; ++r) {
            float now = most[r];
#pragma unroll
            for (int c = 0; c < C; ++c) {
                if (fma_col() + FMA_SIDE * c >= valid) scores[r][c] = -INFINITY;
                now = fmaxf(now, scores[r][c]);
            }
#pragma unroll
            for (int other = FMA_SIDE / 2; other > 0; other /= 2) {
                now = fmaxf(now, __shfl_xor_sync(ALL_LANES, now, other));
            }
            shrink[r] = exp2f((most[r] - now) * scale);
            most[r] = now;
            float more = 0.0f;
#pragma unroll
            for (int c = 0; c < C; ++c) more += scores[r][c] = exp2f((scores[r][c] - now) * scale);
            sum[r] = sum[r] * shrink[r] + warp_sum<FMA_SIDE>(more);
        }
    }

    __device__ void run(const float *qkv, float *out, float *log_sums, const Head &head, float scale) {
        const size_t stride = head.packed_stride();
        const int first = blockIdx.x * QUERIES, valid = head.tokens - first;
        fma_load<QUERIES, W>(query, qkv + head.packed(QUERY) + first * stride, stride, valid, head.width);
        float acc[R][W / FMA_SIDE] = {}, most[R], sum[R] = {}, shrink[R];
#pragma unroll
        for (int r = 0; r < R; ++r) most[r] = -INFINITY;
        for (int start = 0; start < head.tokens; start += KEYS) {
            const int left = head.tokens - start;
            __syncthreads();
            fma_load<KEYS, W>(stream, qkv + head.packed(KEY) + start * stride, stride, left, head.width);
            __syncthreads();
            float scores[R][C];
            fma_scores<W>(scores, query, stream);
            softmax(scores, most, sum, shrink, scale * LOG2_E, left);
            fma_store<QUERIES, KEYS>(weights, scores);
            __syncthreads();
            fma_load<KEYS, W>(stream, qkv + head.packed(VALUE) + start * stride, stride, left, head.width);
            __syncthreads();
#pragma unroll
            for (int r = 0; r < R; ++r)
#pragma unroll
                for (int c = 0; c < W / FMA_SIDE; ++c) acc[r][c] *= shrink[r];
            fma_accumulate<W, QUERIES, KEYS>(acc, weights, stream);
        }
#pragma unroll
        for (int r = 0; r < R; ++r) {
            const int row = fma_row() * R + r;
#pragma unroll
            for (int c = 0; c < W / FMA_SIDE; ++c) acc[r][c] /= sum[r];
            if (fma_col() == 0 && row < valid) {
                log_sums[head.sums() + first + row] = most[r] * scale + logf(sum[r]);
            }
        }
        fma_write(out + head.result() + first * head.stride(), head.stride(), acc, 1.0f, valid, head.width);
    }
};

// In bf16: a warp has M times 16 queries in registers, its weights among them; keys and values come while it computes.
template <int W> struct MmaForward {
    static constexpr int M = W <= 64 ? 2 : 1, WARP = 16 * M, QUERIES = WARP * MMA_WARPS, KEYS = W <= 64 ? 64 : 32;

    Tile<KEYS, W> key[2], value[2];

    __device__ void fetch(int to, const bf16 *qkv, const Head &head, int start) {
        const size_t stride = head.packed_stride();
        const int left = head.tokens - start;
        mma_load<KEYS, W>(key[to], qkv + head.packed(KEY) + start * stride, stride, left, head.width);
        mma_load<KEYS, W>(value[to], qkv + head.packed(VALUE) + start * stride, stride, left, head.width);
    }

    // Turns scores into weights, and scales the earlier sums; a lane's part of a row's sum stays its own until the end.
    static __device__ __forceinline__ void softmax(float (&scores)[KEYS / 8][4], float (&acc)[W / 8][4],
                                                   float (&most)[2], float (&sum)[2], float scale) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float now = most[half];
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n) now = fmaxf(now, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
            now = fmaxf(now, __shfl_xor_sync(ALL_LANES, now, 1));
            now = fmaxf(now, __shfl_xor_sync(ALL_LANES, now, 2));
            const float shrink = exp2_fast((most[half] - now) * scale), base = now * scale;
            most[half] = now;
            sum[half] *= shrink;
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; ++i) {
                    scores[n][i] = exp2_fast(scores[n][i] * scale - base);
                    sum[half] += scores[n][i];
                }
#pragma unroll
            for (int n = 0; n < W / 8; ++n) acc[n][2 * half] *= shrink, acc[n][2 * half + 1] *= shrink;
        }
    }

    // Keys that are not there have no weight.
    static __device__ __forceinline__ void mask(float (&scores)[M][KEYS / 8][4], int left) {
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    if (n * 8 + lane() % 4 * 2 + i % 2 >= left) scores[m][n][i] = -INFINITY;
                }
    }

    static __device__ __forceinline__ void finish(bf16 *out, float *log_sums, const Head &head, int first,
                                                  const float (&acc)[W / 8][4], const float (&most)[2],
                                                  const float (&sum)[2], float scale) {
        float factors[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float total = warp_sum<4>(sum[half]);
            const int row = first + lane() / 4 + half * 8;
            factors[half] = 1.0f / total;
            if (lane() % 4 == 0 && row < head.tokens) {
                log_sums[head.sums() + row] = most[half] * scale + logf(total);
            }
        }
        bf16 *to = out + head.result() + first * head.stride();
        mma_write<W>(to, head.stride(), acc, factors, head.tokens - first, head.width);
    }

    __device__ __forceinline__ void run(const bf16 *qkv, bf16 *out, float *log_sums, const Head &head, float scale) {
        const size_t stride = head.packed_stride();
        const int first = blockIdx.x * QUERIES + threadIdx.x / 32 * WARP;
        unsigned query[M][W / 16][4];
        float acc[M][W / 8][4] = {}, most[M][2], sum[M][2] = {};
        fetch(0, qkv, head, 0);
#pragma unroll
        for (int m = 0; m < M; ++m) {
            const int row = first + 16 * m;
            mma_rows<W>(query[m], qkv + head.packed(QUERY) + row * stride, stride, head.tokens - row, head.width);
            most[m][0] = most[m][1] = -INFINITY;
        }
        for (int start = 0, at = 0; start < head.tokens; start += KEYS, at ^= 1) {
            copy_async_wait();
            __syncthreads();
            if (start + KEYS < head.tokens) fetch(at ^ 1, qkv, head, start + KEYS);
            if (first >= head.tokens) continue;
            float scores[M][KEYS / 8][4];
            mma_scores<W, KEYS, M>(scores, query, key[at]);
            if (head.tokens - start < KEYS) mask(scores, head.tokens - start);
#pragma unroll
            for (int m = 0; m < M; ++m) softmax(scores[m], acc[m], most[m], sum[m], scale * LOG2_E);
            unsigned weights[M][KEYS / 16][4];
            mma_operand<KEYS, M>(weights, scores);
            mma_accumulate<W, KEYS, M>(acc, weights, value[at]);
        }
        if (first >= head.tokens) return;
#pragma unroll
        for (int m = 0; m < M; ++m) finish(out, log_sums, head, first + 16 * m, acc[m], most[m], sum[m], scale);
    }
};

// attention_forward_wW_f32: grid (ceil(tokens / QUERIES), heads, batch), block 256, of 64 queries for W = 32 and 64, of
// 32 for W = 96 and 128.
// attention_forward_wW_bf16: grid (ceil(tokens / QUERIES), heads, batch), block 128, of 128 queries for W = 32 and 64, of
// 64 for W = 96 and 128.
#define KERNELS(W)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(FMA_THREADS, 2)                                                     \
        attention_forward_w##W##_f32(const float *qkv, float *out, float *log_sums, int batch, int tokens,           \
                                     int heads, int width, float scale) {                                            \
        __shared__ __align__(16) FmaForward<W> room;                                                                 \
        room.run(qkv, out, log_sums, Head{tokens, heads, width}, scale);                                             \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(MMA_THREADS)                                                        \
        attention_forward_w##W##_bf16(const bf16 *qkv, bf16 *out, float *log_sums, int batch, int tokens, int heads, \
                                      int width, float scale) {                                                      \
        __shared__ __align__(16) MmaForward<W> room;                                                                 \
        room.run(qkv, out, log_sums, Head{tokens, heads, width}, scale);                                             \
    }
KERNELS(32)
KERNELS(64)
KERNELS(96)
KERNELS(128)
#undef KERNELS

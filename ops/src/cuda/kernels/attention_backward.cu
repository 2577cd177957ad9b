// Attention backward as arXiv 2205.14135 does it: weights are computed again from each query's log-sum, with
// dS = P * (dP - delta), delta being the product of a query's result and its gradient. Keys and values get theirs from a
// block of keys that goes through the queries, queries theirs from a block of queries that goes through the keys: two
// more products than with one pass, but every sum is one thread's, in one order.
//
// A pass goes as W, products of width W: with its own rows A and A', and the stream's B and B', S = A B^T and
// dP = A' B'^T. For keys the own rows are keys and values, so that S and dP are transposed.

#include "attention.cuh"
#include "fma.cuh"
#include "mma.cuh"

// delta `[batch][heads][tokens]` = the sum over a head of out * dout: 16 lanes a head.
template <class T>
__device__ void attention_delta(const T *out, const T *dout, float *delta, int rows, int heads, int width,
                                int tokens) {
    const size_t one = (static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 16;
    float sum = 0.0f;
    if (one < static_cast<size_t>(rows) * heads) {
        for (int i = threadIdx.x % 16 * 4; i < width; i += 64) {
            float a[4], b[4];
            load(out + one * width + i, a), load(dout + one * width + i, b);
#pragma unroll
            for (int j = 0; j < 4; ++j) sum += a[j] * b[j];
        }
    }
    sum = warp_sum<16>(sum);
    if (one >= static_cast<size_t>(rows) * heads || threadIdx.x % 16 != 0) return;
    const size_t row = one / heads, head = one % heads;
    delta[(row / tokens * heads + head) * tokens + row % tokens] = sum;
}

// What a backward pass reads, of one head.
template <class T> struct Saved {
    const T *qkv, *dout;
    const float *log_sums, *delta;
    Head head;
    float scale;

    __device__ const T *packed(Part part, int token) const {
        return qkv + head.packed(part) + token * head.packed_stride();
    }
    __device__ const T *gradient(int token) const { return dout + head.result() + token * head.stride(); }

    // In units of a power of two; of no query at all so large that all its weights are zero.
    __device__ float log_sum(int query) const {
        return query < head.tokens ? log_sums[head.sums() + query] * LOG2_E : INFINITY;
    }
    __device__ float delta_of(int query) const {
        return query < head.tokens ? delta[head.sums() + query] : 0.0f;
    }
};

// In f32. Own rows and the stream's are blocks of the same size.
template <int W> struct FmaBackward {
    static constexpr int BLOCK = W <= 64 ? 32 : 16, R = BLOCK / FMA_SIDE, COLS = W / FMA_SIDE;

    float own[2][BLOCK][W + FMA_PAD], stream[2][BLOCK][W + FMA_PAD];
    float weights[BLOCK][BLOCK + FMA_PAD], slopes[BLOCK][BLOCK + FMA_PAD];

    __device__ void fetch(float (&tiles)[2][BLOCK][W + FMA_PAD], bool queries, const Saved<float> &saved, int start) {
        const Head &head = saved.head;
        const int left = head.tokens - start;
        const float *second = queries ? saved.gradient(start) : saved.packed(VALUE, start);
        fma_load<BLOCK, W>(tiles[0], saved.packed(queries ? QUERY : KEY, start), head.packed_stride(), left,
                           head.width);
        fma_load<BLOCK, W>(tiles[1], second, queries ? head.stride() : head.packed_stride(), left, head.width);
    }

    __device__ void keys(const Saved<float> &saved, float *dqkv) {
        const Head &head = saved.head;
        const int first = blockIdx.x * BLOCK, valid = head.tokens - first;
        float dk[R][COLS] = {}, dv[R][COLS] = {};
        fetch(own, false, saved, first);
        for (int start = 0; start < head.tokens; start += BLOCK) {
            __syncthreads();
            fetch(stream, true, saved, start);
            __syncthreads();
            float s[R][R], dp[R][R];
            fma_scores<W>(s, own[0], stream[0]);
            fma_scores<W>(dp, own[1], stream[1]);
#pragma unroll
            for (int c = 0; c < R; ++c) {
                const int query = start + fma_col() + FMA_SIDE * c;
                const float log_sum = saved.log_sum(query), delta = saved.delta_of(query);
#pragma unroll
                for (int r = 0; r < R; ++r) {
                    s[r][c] = exp2f(s[r][c] * (saved.scale * LOG2_E) - log_sum);
                    dp[r][c] = s[r][c] * (dp[r][c] - delta);
                }
            }
            fma_store<BLOCK, BLOCK>(weights, s);
            fma_store<BLOCK, BLOCK>(slopes, dp);
            __syncwarp();
            fma_accumulate<W, BLOCK, BLOCK>(dv, weights, stream[1]);
            fma_accumulate<W, BLOCK, BLOCK>(dk, slopes, stream[0]);
        }
        const size_t stride = head.packed_stride();
        fma_write(dqkv + head.packed(KEY) + first * stride, stride, dk, saved.scale, valid, head.width);
        fma_write(dqkv + head.packed(VALUE) + first * stride, stride, dv, 1.0f, valid, head.width);
    }

    __device__ void queries(const Saved<float> &saved, float *dqkv) {
        const Head &head = saved.head;
        const int first = blockIdx.x * BLOCK, valid = head.tokens - first;
        float dq[R][COLS] = {}, log_sum[R], delta[R];
#pragma unroll
        for (int r = 0; r < R; ++r) {
            const int query = first + fma_row() * R + r;
            log_sum[r] = saved.log_sum(query), delta[r] = saved.delta_of(query);
        }
        fetch(own, true, saved, first);
        for (int start = 0; start < head.tokens; start += BLOCK) {
            __syncthreads();
            fetch(stream, false, saved, start);
            __syncthreads();
            float s[R][R], dp[R][R];
            fma_scores<W>(s, own[0], stream[0]);
            fma_scores<W>(dp, own[1], stream[1]);
#pragma unroll
            for (int r = 0; r < R; ++r)
#pragma unroll
                for (int c = 0; c < R; ++c) {
                    const bool there = start + fma_col() + FMA_SIDE * c < head.tokens;
                    const float p = exp2f(s[r][c] * (saved.scale * LOG2_E) - log_sum[r]);
                    s[r][c] = there ? p * (dp[r][c] - delta[r]) : 0.0f;
                }
            fma_store<BLOCK, BLOCK>(slopes, s);
            __syncwarp();
            fma_accumulate<W, BLOCK, BLOCK>(dq, slopes, stream[0]);
        }
        const size_t stride = head.packed_stride();
        fma_write(dqkv + head.packed(QUERY) + first * stride, stride, dq, saved.scale, valid, head.width);
    }
};

// In bf16: a warp has 16 rows of its own in registers, whose sums and slopes stay there too.
template <int W> struct MmaKeys {
    static constexpr int KEYS = 16 * MMA_WARPS, QUERIES = W <= 64 ? 64 : W <= 96 ? 32 : 16;

    Tile<QUERIES, W> query[2], gradient[2];
    float log_sum[2][QUERIES], delta[2][QUERIES];

    __device__ void fetch(int to, const Saved<bf16> &saved, int start) {
        const Head &head = saved.head;
        const int left = head.tokens - start;
        mma_load<QUERIES, W>(query[to], saved.packed(QUERY, start), head.packed_stride(), left, head.width);
        mma_load<QUERIES, W>(gradient[to], saved.gradient(start), head.stride(), left, head.width);
        if (threadIdx.x < QUERIES) {
            log_sum[to][threadIdx.x] = saved.log_sum(start + threadIdx.x);
            delta[to][threadIdx.x] = saved.delta_of(start + threadIdx.x);
        }
    }

    // One block of queries, in buffer `at`.
    __device__ __forceinline__ void block(int at, float scale, const unsigned (&key)[1][W / 16][4],
                                          const unsigned (&value)[1][W / 16][4], float (&dk)[1][W / 8][4],
                                          float (&dv)[1][W / 8][4]) {
        float p[1][QUERIES / 8][4], ds[1][QUERIES / 8][4];
        unsigned operand[1][QUERIES / 16][4];
        mma_scores<W, QUERIES, 1>(p, key, query[at]);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                p[0][n][i] = exp2_fast(p[0][n][i] * scale - log_sum[at][n * 8 + lane() % 4 * 2 + i % 2]);
            }
        mma_operand<QUERIES, 1>(operand, p);
        mma_accumulate<W, QUERIES, 1>(dv, operand, gradient[at]);
        mma_scores<W, QUERIES, 1>(ds, value, gradient[at]);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                ds[0][n][i] = p[0][n][i] * (ds[0][n][i] - delta[at][n * 8 + lane() % 4 * 2 + i % 2]);
            }
        mma_operand<QUERIES, 1>(operand, ds);
        mma_accumulate<W, QUERIES, 1>(dk, operand, query[at]);
    }

    __device__ __forceinline__ void run(const Saved<bf16> &saved, bf16 *dqkv) {
        const Head &head = saved.head;
        const size_t stride = head.packed_stride();
        const int first = blockIdx.x * KEYS + threadIdx.x / 32 * 16, valid = head.tokens - first;
        unsigned key[1][W / 16][4], value[1][W / 16][4];
        float dk[1][W / 8][4] = {}, dv[1][W / 8][4] = {};
        fetch(0, saved, 0);
        mma_rows<W>(key[0], saved.packed(KEY, first), stride, valid, head.width);
        mma_rows<W>(value[0], saved.packed(VALUE, first), stride, valid, head.width);
        for (int start = 0, at = 0; start < head.tokens; start += QUERIES, at ^= 1) {
            copy_async_wait();
            __syncthreads();
            if (start + QUERIES < head.tokens) fetch(at ^ 1, saved, start + QUERIES);
            if (valid > 0) block(at, saved.scale * LOG2_E, key, value, dk, dv);
        }
        const float scales[2] = {saved.scale, saved.scale}, ones[2] = {1.0f, 1.0f};
        mma_write<W>(dqkv + head.packed(KEY) + first * stride, stride, dk[0], scales, valid, head.width);
        mma_write<W>(dqkv + head.packed(VALUE) + first * stride, stride, dv[0], ones, valid, head.width);
    }
};

template <int W> struct MmaQueries {
    static constexpr int QUERIES = 16 * MMA_WARPS, KEYS = W <= 64 ? 64 : 32;

    Tile<KEYS, W> key[2], value[2];

    __device__ void fetch(int to, const Saved<bf16> &saved, int start) {
        const Head &head = saved.head;
        const int left = head.tokens - start;
        mma_load<KEYS, W>(key[to], saved.packed(KEY, start), head.packed_stride(), left, head.width);
        mma_load<KEYS, W>(value[to], saved.packed(VALUE, start), head.packed_stride(), left, head.width);
    }

    // One block of keys, in buffer `at`, of which `left` are there.
    __device__ __forceinline__ void block(int at, int left, float scale, const unsigned (&query)[1][W / 16][4],
                                          const unsigned (&gradient)[1][W / 16][4], const float (&log_sum)[2],
                                          const float (&delta)[2], float (&dq)[1][W / 8][4]) {
        float s[1][KEYS / 8][4], ds[1][KEYS / 8][4];
        unsigned operand[1][KEYS / 16][4];
        mma_scores<W, KEYS, 1>(s, query, key[at]);
        mma_scores<W, KEYS, 1>(ds, gradient, value[at]);
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float p = exp2_fast(s[0][n][i] * scale - log_sum[i / 2]);
                const bool there = n * 8 + lane() % 4 * 2 + i % 2 < left;
                ds[0][n][i] = there ? p * (ds[0][n][i] - delta[i / 2]) : 0.0f;
            }
        mma_operand<KEYS, 1>(operand, ds);
        mma_accumulate<W, KEYS, 1>(dq, operand, key[at]);
    }

    __device__ __forceinline__ void run(const Saved<bf16> &saved, bf16 *dqkv) {
        const Head &head = saved.head;
        const size_t stride = head.packed_stride();
        const int first = blockIdx.x * QUERIES + threadIdx.x / 32 * 16, valid = head.tokens - first;
        unsigned query[1][W / 16][4], gradient[1][W / 16][4];
        float dq[1][W / 8][4] = {}, log_sum[2], delta[2];
        fetch(0, saved, 0);
        mma_rows<W>(query[0], saved.packed(QUERY, first), stride, valid, head.width);
        mma_rows<W>(gradient[0], saved.gradient(first), head.stride(), valid, head.width);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = first + lane() / 4 + half * 8;
            log_sum[half] = saved.log_sum(row), delta[half] = saved.delta_of(row);
        }
        for (int start = 0, at = 0; start < head.tokens; start += KEYS, at ^= 1) {
            copy_async_wait();
            __syncthreads();
            if (start + KEYS < head.tokens) fetch(at ^ 1, saved, start + KEYS);
            if (valid > 0) {
                block(at, head.tokens - start, saved.scale * LOG2_E, query, gradient, log_sum, delta, dq);
            }
        }
        const float scales[2] = {saved.scale, saved.scale};
        mma_write<W>(dqkv + head.packed(QUERY) + first * stride, stride, dq[0], scales, valid, head.width);
    }
};

// Both: grid ceil(rows * heads / 16), block 256; `rows` is batch * tokens.
extern "C" __global__ void attention_delta_f32(const float *out, const float *dout, float *delta, int rows, int heads,
                                               int width, int tokens) {
    attention_delta(out, dout, delta, rows, heads, width, tokens);
}
extern "C" __global__ void attention_delta_bf16(const bf16 *out, const bf16 *dout, float *delta, int rows, int heads,
                                                int width, int tokens) {
    attention_delta(out, dout, delta, rows, heads, width, tokens);
}

#define KERNEL(NAME, BOUNDS, T, ROOM, PASS)                                                                           \
    extern "C" __global__ void __launch_bounds__ BOUNDS                                                               \
        NAME(const T *qkv, const T *dout, const float *log_sums, const float *delta, T *dqkv, int batch, int tokens,  \
             int heads, int width, float scale) {                                                                     \
        __shared__ __align__(16) ROOM room;                                                                           \
        room.PASS(Saved<T>{qkv, dout, log_sums, delta, Head{tokens, heads, width}, scale}, dqkv);                     \
    }

// attention_backward_{kv,q}_wW_f32: grid (ceil(tokens / BLOCK), heads, batch), block 256, of 32 tokens for W = 32 and 64,
// of 16 for W = 96 and 128.
// attention_backward_{kv,q}_wW_bf16: grid (ceil(tokens / 64), heads, batch), block 128.
#define KERNELS(W)                                                                                                    \
    KERNEL(attention_backward_kv_w##W##_f32, (FMA_THREADS, 2), float, FmaBackward<W>, keys)                           \
    KERNEL(attention_backward_q_w##W##_f32, (FMA_THREADS, 2), float, FmaBackward<W>, queries)                         \
    KERNEL(attention_backward_kv_w##W##_bf16, (MMA_THREADS), bf16, MmaKeys<W>, run)                                   \
    KERNEL(attention_backward_q_w##W##_bf16, (MMA_THREADS), bf16, MmaQueries<W>, run)
KERNELS(32)
KERNELS(64)
KERNELS(96)
KERNELS(128)
#undef KERNELS
#undef KERNEL

// Choosing and ordering tokens: what MAE does around its encoder and decoder. A block has a row. Backward, a row looks
// for those that came of it among its sample's ids, so that no two blocks add to one number.

#include "common.cuh"

constexpr int TOKEN_THREADS = 128;

// Rows that come of an id which lies beyond its sequence.
__device__ __forceinline__ float not_a_number() { return __uint_as_float(0x7fffffffu); }

// Whether rows may be read and written in fours: one answer for a whole kernel, so that a column stays with its thread.
template <class... P> __device__ __forceinline__ bool row_fours(int dim, P... rows) {
    return dim % 4 == 0 && aligned(rows...);
}

// to = from + more, of which both may be null: then NaN, and nothing.
__device__ void write_row(float *to, const float *from, const float *more, int dim, bool fours) {
    over_block(dim, fours, [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        float x[N], y[N] = {};
        for (float &one : x) one = not_a_number();
        if (from) load(from + i, x);
        if (more) load(more + i, y);
#pragma unroll
        for (int j = 0; j < N; ++j) x[j] = more ? x[j] + y[j] : x[j];
        store(to + i, x);
    });
}

__device__ void add_row(float *to, const float *from, int dim, bool fours) {
    over_block(dim, fours, [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        float x[N], y[N];
        load(to + i, x), load(from + i, y);
#pragma unroll
        for (int j = 0; j < N; ++j) x[j] += y[j];
        store(to + i, x);
    });
}

__device__ void zero_row(float *to, int dim, bool fours) {
    over_block(dim, fours, [&](int i, auto count) {
        const float zeros[decltype(count)::value] = {};
        store(to + i, zeros);
    });
}

// Calls f(i) for each of `count` ids that is `wanted`, in order, in all threads.
template <class F>
__device__ void each_match(const unsigned *ids, int count, unsigned wanted, unsigned (&found)[TOKEN_THREADS / 32],
                           F f) {
    for (int start = 0; start < count; start += TOKEN_THREADS) {
        const int own = start + threadIdx.x;
        const unsigned votes = __ballot_sync(ALL_LANES, own < count && ids[own] == wanted);
        if (threadIdx.x % 32 == 0) found[threadIdx.x / 32] = votes;
        __syncthreads();
        for (int warp = 0; warp < TOKEN_THREADS / 32; ++warp) {
            for (unsigned bits = found[warp]; bits != 0; bits &= bits - 1) f(start + warp * 32 + __ffs(bits) - 1);
        }
        __syncthreads();
    }
}

// grid (picked, batch), block 128. `tokens` `[batch][length][dim]`, `ids` `[batch][picked]`, `out`
// `[batch][picked][dim]`.
extern "C" __global__ void gather_forward(const float *tokens, const unsigned *ids, float *out, int batch, int length,
                                          int picked, int dim) {
    const size_t row = static_cast<size_t>(blockIdx.y) * picked + blockIdx.x;
    const unsigned id = ids[row];
    const float *from = tokens + (static_cast<size_t>(blockIdx.y) * length + id) * dim;
    write_row(out + row * dim, id < static_cast<unsigned>(length) ? from : nullptr, nullptr, dim,
              row_fours(dim, tokens, out));
}

// grid (length, batch), block 128. Every row of `dx` `[batch][length][dim]` is written.
extern "C" __global__ void gather_backward(const float *dy, const unsigned *ids, float *dx, int batch, int length,
                                           int picked, int dim) {
    __shared__ unsigned found[TOKEN_THREADS / 32];
    const size_t first = static_cast<size_t>(blockIdx.y) * picked;
    float *to = dx + (static_cast<size_t>(blockIdx.y) * length + blockIdx.x) * dim;
    const bool fours = row_fours(dim, dy, dx);
    zero_row(to, dim, fours);
    each_match(ids + first, picked, blockIdx.x, found,
               [&](int i) { add_row(to, dy + (first + i) * dim, dim, fours); });
}

// grid (1 + kept, batch), block 128. `patches` `[batch][kept][dim]`, `cls` `[dim]`, `positions` `[rows][dim]`, the class
// token's first; `ids` `[batch][kept]` or null for patches in order; `out` `[batch][1 + kept][dim]`.
extern "C" __global__ void prepend_forward(const float *patches, const float *cls, const float *positions,
                                           const unsigned *ids, float *out, int batch, int kept, int rows, int dim) {
    const size_t sample = blockIdx.y;
    float *to = out + (sample * (kept + 1) + blockIdx.x) * dim;
    const bool fours = row_fours(dim, patches, cls, positions, out);
    if (blockIdx.x == 0) return write_row(to, cls, positions, dim, fours);
    const size_t patch = sample * kept + blockIdx.x - 1;
    const unsigned id = ids ? ids[patch] : blockIdx.x - 1;
    const bool there = id < static_cast<unsigned>(rows - 1);
    const float *position = positions + (1 + static_cast<size_t>(id)) * dim;
    write_row(to, there ? patches + patch * dim : nullptr, there ? position : nullptr, dim, fours);
}

// grid rows, block 128. `dy` `[batch][1 + kept][dim]`, `dpositions` `[rows][dim]`, every row written; its first is the
// class token's gradient too, and a grid of one block writes that alone.
extern "C" __global__ void prepend_positions_backward(const float *dy, const unsigned *ids, float *dpositions,
                                                      int batch, int kept, int rows, int dim) {
    __shared__ unsigned found[TOKEN_THREADS / 32];
    float *to = dpositions + static_cast<size_t>(blockIdx.x) * dim;
    const int wanted = static_cast<int>(blockIdx.x) - 1;
    const bool fours = row_fours(dim, dy, dpositions);
    zero_row(to, dim, fours);
    for (int sample = 0; sample < batch; ++sample) {
        const float *own = dy + static_cast<size_t>(sample) * (kept + 1) * dim;
        const auto add = [&](int patch) { add_row(to, own + (1 + static_cast<size_t>(patch)) * dim, dim, fours); };
        if (wanted < 0) {
            add_row(to, own, dim, fours);
        } else if (ids) {
            each_match(ids + static_cast<size_t>(sample) * kept, kept, wanted, found, add);
        } else if (wanted < kept) {
            add(wanted);
        }
    }
}

// grid (1 + patches, batch), block 128. `visible` `[batch][1 + kept][dim]`, `mask_token` `[dim]`, `ids_restore`
// `[batch][patches]`: each patch's place in the shuffled order, of which the first `kept` are visible; `positions`
// `[1 + patches][dim]` or null; `out` `[batch][1 + patches][dim]`.
extern "C" __global__ void restore_forward(const float *visible, const float *mask_token, const unsigned *ids_restore,
                                           const float *positions, float *out, int batch, int kept, int patches,
                                           int dim) {
    const size_t sample = blockIdx.y;
    const float *own = visible + sample * (kept + 1) * dim;
    const float *from = own;
    if (blockIdx.x > 0) {
        const unsigned id = ids_restore[sample * patches + blockIdx.x - 1];
        from = id < static_cast<unsigned>(kept) ? own + (1 + static_cast<size_t>(id)) * dim : mask_token;
        if (id >= static_cast<unsigned>(patches)) from = nullptr;
    }
    const float *position = positions ? positions + static_cast<size_t>(blockIdx.x) * dim : nullptr;
    write_row(out + (sample * (patches + 1) + blockIdx.x) * dim, from, position, dim,
              row_fours(dim, visible, mask_token, positions, out));
}

// The mask token's part of a sample: 32 columns, of which each warp takes every fourth row.
__device__ void mask_columns(const float *dy, const unsigned *ids, float *sum, int kept, int patches, int dim,
                             int first, float (&room)[TOKEN_THREADS / 32][32]) {
    const int lane = threadIdx.x % 32, group = threadIdx.x / 32, col = first + lane;
    float own = 0.0f;
    for (int patch = group; patch < patches; patch += TOKEN_THREADS / 32) {
        const unsigned id = ids[patch];
        const bool masked = id >= static_cast<unsigned>(kept) && id < static_cast<unsigned>(patches);
        if (masked && col < dim) own += dy[(1 + static_cast<size_t>(patch)) * dim + col];
    }
    room[group][lane] = own;
    __syncthreads();
    if (group != 0 || col >= dim) return;
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < TOKEN_THREADS / 32; ++i) total += room[i][lane];
    sum[col] = total;
}

// grid (1 + kept + ceil(dim / 32), batch), block 128. Every row of `dvisible` `[batch][1 + kept][dim]` and of
// `mask_partial` `[batch][dim]` is written.
extern "C" __global__ void restore_backward(const float *dy, const unsigned *ids_restore, float *dvisible,
                                            float *mask_partial, int batch, int kept, int patches, int dim) {
    __shared__ unsigned found[TOKEN_THREADS / 32];
    __shared__ float room[TOKEN_THREADS / 32][32];
    const size_t sample = blockIdx.y;
    const float *own = dy + sample * (patches + 1) * dim;
    const unsigned *ids = ids_restore + sample * patches;
    const int row = blockIdx.x;
    if (row > kept) {
        return mask_columns(own, ids, mask_partial + sample * dim, kept, patches, dim, (row - kept - 1) * 32, room);
    }
    float *to = dvisible + (sample * (kept + 1) + row) * dim;
    const bool fours = row_fours(dim, dy, dvisible);
    if (row == 0) return write_row(to, own, nullptr, dim, fours);
    zero_row(to, dim, fours);
    each_match(ids, patches, row - 1, found,
               [&](int patch) { add_row(to, own + (1 + static_cast<size_t>(patch)) * dim, dim, fours); });
}

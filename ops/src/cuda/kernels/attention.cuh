// Where a head lies. Queries, keys and values are packed `[batch * tokens][3 * heads * width]`: the queries of all heads,
// then the keys, then the values; results are `[batch * tokens][heads * width]`, log-sums and deltas
// `[batch][heads][tokens]`. Every pointer is 16-byte aligned and `width` a multiple of 8, so that 16 bytes of a row are
// inside a head or outside it.
#pragma once

#include "common.cuh"

enum Part { QUERY, KEY, VALUE };

// Of the block whose grid is (blocks of tokens, heads, batch).
struct Head {
    int tokens, heads, width;

    // From one token's packed row to the next, and from one token's result to the next.
    __device__ size_t packed_stride() const { return static_cast<size_t>(3) * heads * width; }
    __device__ size_t stride() const { return static_cast<size_t>(heads) * width; }

    // Where the first token's query, key or value of this head is, its result, its log-sum.
    __device__ size_t packed(Part part) const {
        return static_cast<size_t>(blockIdx.z) * tokens * packed_stride() +
               (static_cast<size_t>(part) * heads + blockIdx.y) * width;
    }
    __device__ size_t result() const { return static_cast<size_t>(blockIdx.z) * tokens * stride() + blockIdx.y * width; }
    __device__ size_t sums() const { return (static_cast<size_t>(blockIdx.z) * heads + blockIdx.y) * tokens; }
};

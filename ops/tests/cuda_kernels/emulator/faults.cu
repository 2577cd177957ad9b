// Kernels that are wrong, to see that the emulator finds out.

#include "mma.cuh"

// Half of the block does not come to the barrier.
extern "C" __global__ void fault_barrier(float *out) {
    if (threadIdx.x < 32) return;
    __syncthreads();
    out[threadIdx.x] = 0.0f;
}

// Lanes of a warp do different things.
extern "C" __global__ void fault_lanes(float *out) {
    out[threadIdx.x] = threadIdx.x % 2 ? __shfl_xor_sync(ALL_LANES, 1.0f, 2) : __ballot_sync(ALL_LANES, true);
}

// A copy is read before it is waited for.
extern "C" __global__ void fault_copy(const float *from, float *out) {
    __shared__ __align__(16) float room[64][4];
    copy_async(room[threadIdx.x], from + 4 * threadIdx.x, true);
    out[threadIdx.x] = room[threadIdx.x][0];
    copy_async_wait();
}

// A matrix is read from where no row may begin.
extern "C" __global__ void fault_place(float *out) {
    __shared__ __align__(16) unsigned short room[64];
    unsigned r[4];
    ldmatrix(r, room + 1);
    out[threadIdx.x] = r[0];
}

// A neighbour's number is read without a barrier.
extern "C" __global__ void fault_race(float *out) {
    __shared__ float room[64];
    room[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = room[threadIdx.x ^ 1];
}

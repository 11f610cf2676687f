// Sums and maxima over a warp or a block, in an order that the number of threads alone decides.
#pragma once
#include "ptx.cuh"

// The sum of a warp's values, in all of its lanes.
__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int d = 16; d; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

// The largest of a warp's values, in all of its lanes.
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int d = 16; d; d >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
  return v;
}

// The sum of a block of WARPS warps, in all of its threads. `room` holds WARPS numbers and is free
// again when all have returned.
template <int WARPS>
__device__ __forceinline__ float block_sum(float v, float* room) {
  v = warp_sum(v);
  if ((threadIdx.x & 31) == 0) room[threadIdx.x >> 5] = v;
  __syncthreads();
  float sum = 0.f;
#pragma unroll
  for (int w = 0; w < WARPS; w++) sum += room[w];
  __syncthreads();
  return sum;
}

// What choosing tokens and telling their log-probabilities share: how a row is chosen, and what a block of
// 1024 threads finds out about a row of logits together.
#pragma once
#include "ptx.cuh"

// How a row's token is chosen. Numbers that a row needs many of stand in a buffer of words beside the rows.
struct SampleRow {
  double point;                  // where in the running sum of what is left, in [0, 1)
  unsigned row;                  // of the logits
  unsigned tokens, token_count;  // the tokens so far, for the penalty: their place among the words
  unsigned allowed;              // likewise the bits of the tokens that may be chosen; NO_MASK: all may
  int given;                     // the token, where there is no choice; -1: there is
  unsigned logprobs;             // 0: none are asked for; n + 1: the token's, and those of the n most likely
  unsigned top_k;                // 0: all
  float penalty, temperature, top_p, min_p;
  unsigned reserved;             // 0
};

namespace {
constexpr unsigned THREADS = 1024, NO_MASK = 0xffffffffu;
// Weights are summed in fixed point, so that no order of threads changes a sum.
constexpr float UNIT = 1099511627776.f;

// A token by its logit; the larger logit comes first, of equal ones the lower id.
struct Best {
  float x;
  unsigned id;
};

struct BestRoom {
  float x[32];
  unsigned id[32];
};

__device__ __forceinline__ bool comes_before(Best a, Best b) { return a.x > b.x || (a.x == b.x && a.id < b.id); }

// The first of the threads' own, in all of them. `room` is free again behind the next barrier.
__device__ __forceinline__ Best block_best(Best own, BestRoom& room) {
#pragma unroll
  for (int d = 16; d; d >>= 1) {
    Best other = {__shfl_xor_sync(0xffffffffu, own.x, d), __shfl_xor_sync(0xffffffffu, own.id, d)};
    if (comes_before(other, own)) own = other;
  }
  if ((threadIdx.x & 31) == 0) {
    room.x[threadIdx.x >> 5] = own.x;
    room.id[threadIdx.x >> 5] = own.id;
  }
  __syncthreads();
  for (unsigned w = 0; w < 32; w++) {
    Best other = {room.x[w], room.id[w]};
    if (comes_before(other, own)) own = other;
  }
  return own;
}

// Sums before this thread's own, in the order of the threads; `total` is the sum of all.
__device__ __forceinline__ unsigned long long scan_before(unsigned long long v, unsigned long long (&room)[32],
                                                          unsigned long long& total) {
  unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  unsigned long long sum = v;
#pragma unroll
  for (unsigned d = 1; d < 32; d <<= 1) {
    unsigned long long other = __shfl_up_sync(0xffffffffu, sum, d);
    if (lane >= d) sum += other;
  }
  if (lane == 31) room[warp] = sum;
  __syncthreads();
  if (warp == 0) {
    unsigned long long x = room[lane];
#pragma unroll
    for (unsigned d = 1; d < 32; d <<= 1) {
      unsigned long long other = __shfl_up_sync(0xffffffffu, x, d);
      if (lane >= d) x += other;
    }
    room[lane] = x;
  }
  __syncthreads();
  unsigned long long before = sum - v + (warp ? room[warp - 1] : 0ull);
  total = room[31];
  __syncthreads();
  return before;
}
}  // namespace

// Attention on tensor cores, in pieces that prefill, decode and encoders share, so that a row has the
// same bits in all of them.
//
// A warp computes 16 rows (a row: one query of one head) against blocks of KEYS keys: scores and
// weighted values by m16n8k16, the softmax online, all sums in F32. Keys fall into chunks of CHUNK
// positions, counted from the sequence's first. Within a chunk the softmax runs on; chunks are joined
// in order by `join`. So one block may go through all chunks (prefill), or each chunk may have a block
// of its own and be joined afterwards (decode): the bits are those of the row, its keys and nothing
// else. A block of keys that a row does not see changes nothing of it, to the bit, which is why tiles
// of several rows may begin and end where they like. Where rounding could depend on how the compiler
// fuses a product and a sum, the intrinsics say it.
//
// Tiles lie in shared memory with rows of WIDTH * 2 + 16 bytes: an odd number of 16-byte pieces, so
// that the eight rows of an ldmatrix are in eight different banks.
#pragma once
#include "kv_pages.cuh"

namespace attention {
constexpr int KEYS = 64;
constexpr int CHUNK = 512;
constexpr float LOG2_E = 1.4426950408889634f;

constexpr int stride(int width) { return width * 2 + 16; }

// What products are made of: the 16-bit form of queries, keys, weights and values.
struct Halves {
  __device__ __forceinline__ static uint32_t pack(float low, float high) { return oc_pack_f16(low, high); }
  __device__ __forceinline__ static void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    oc_mma_f16_16816(c, a, b);
  }
};
struct Brains {
  __device__ __forceinline__ static uint32_t pack(float low, float high) { return oc_pack_bf16(low, high); }
  __device__ __forceinline__ static void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    oc_mma_bf16_16816(c, a, b);
  }
};

// Running softmax of a thread's two rows over COLUMNS columns of values: the highest score (in units
// of log 2), the sum of weights, the weighted values as mma lays them out.
template <int COLUMNS>
struct Running {
  float top[2], sum[2], values[COLUMNS / 8][4];
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      top[r] = -INFINITY;
      sum[r] = 0.f;
    }
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) values[n][e] = 0.f;
  }
};

// The factors by which two parts of a softmax are joined; `top` and `sum` become those of both.
__device__ __forceinline__ void join(float& top, float& sum, float other_top, float other_sum, float& keep, float& add) {
  float highest = fmaxf(top, other_top), base = highest == -INFINITY ? 0.f : highest;
  keep = oc_ex2(__fsub_rn(top, base));
  add = oc_ex2(__fsub_rn(other_top, base));
  sum = __fmaf_rn(other_sum, add, __fmul_rn(sum, keep));
  top = highest;
}
__device__ __forceinline__ float joined(float value, float other, float keep, float add) {
  return __fmaf_rn(other, add, __fmul_rn(value, keep));
}

// scores(16, KEYS) = queries(16, WIDTH) * keys(KEYS, WIDTH)^T of a warp.
template <class Element, int WIDTH>
__device__ __forceinline__ void score(float (&s)[KEYS / 8][4], uint32_t queries, uint32_t keys, int lane) {
  int matrix = lane >> 3, row = lane & 7;
#pragma unroll
  for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) s[n][e] = 0.f;
  uint32_t from_q = queries + ((matrix & 1) * 8 + row) * stride(WIDTH) + (matrix >> 1) * 16;
  uint32_t from_k = keys + ((matrix >> 1) * 8 + row) * stride(WIDTH) + (matrix & 1) * 16;
#pragma unroll
  for (int k = 0; k < WIDTH / 16; k++) {
    uint32_t q[4];
    oc_ldmatrix_x4(q, from_q + k * 32);
#pragma unroll
    for (int n = 0; n < KEYS / 16; n++) {
      uint32_t b[4];
      oc_ldmatrix_x4(b, from_k + n * 16 * stride(WIDTH) + k * 32);
      uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      Element::mma(s[2 * n], q, first);
      Element::mma(s[2 * n + 1], q, second);
    }
  }
}

// values += weights(16, KEYS) * values(KEYS, COLUMNS) of a warp.
template <class Element, int COLUMNS>
__device__ __forceinline__ void weigh(float (&values)[COLUMNS / 8][4], const float (&s)[KEYS / 8][4], uint32_t tile,
                                      int lane) {
  int matrix = lane >> 3, row = lane & 7;
  uint32_t from = tile + ((matrix & 1) * 8 + row) * stride(COLUMNS) + (matrix >> 1) * 16;
#pragma unroll
  for (int k = 0; k < KEYS / 16; k++) {
    uint32_t p[4] = {Element::pack(s[2 * k][0], s[2 * k][1]), Element::pack(s[2 * k][2], s[2 * k][3]),
                     Element::pack(s[2 * k + 1][0], s[2 * k + 1][1]), Element::pack(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
    for (int n = 0; n < COLUMNS / 16; n++) {
      uint32_t b[4];
      oc_ldmatrix_x4_trans(b, from + k * 16 * stride(COLUMNS) + n * 32);
      uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
      Element::mma(values[2 * n], p, first);
      Element::mma(values[2 * n + 1], p, second);
    }
  }
}

// Scores to weights, and what was summed before to the new highest score. `s` holds scaled scores in
// units of log 2, -inf where a row does not see a key.
template <int COLUMNS>
__device__ __forceinline__ void soften(Running<COLUMNS>& run, float (&s)[KEYS / 8][4]) {
  float base[2], shrink[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float highest = run.top[r];
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) highest = fmaxf(highest, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
    base[r] = highest == -INFINITY ? 0.f : highest;
    shrink[r] = oc_ex2(__fsub_rn(run.top[r], base[r]));
    run.top[r] = highest;
    run.sum[r] = __fmul_rn(run.sum[r], shrink[r]);
  }
#pragma unroll
  for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      s[n][e] = oc_ex2(__fsub_rn(s[n][e], base[e >> 1]));
      run.sum[e >> 1] = __fadd_rn(run.sum[e >> 1], s[n][e]);
    }
#pragma unroll
  for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) run.values[n][e] = __fmul_rn(run.values[n][e], shrink[e >> 1]);
}

// Ends a chunk: the four threads of a row add up their sums.
template <int COLUMNS>
__device__ __forceinline__ void finish(Running<COLUMNS>& run) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    run.sum[r] = __fadd_rn(run.sum[r], __shfl_xor_sync(0xffffffffu, run.sum[r], 1));
    run.sum[r] = __fadd_rn(run.sum[r], __shfl_xor_sync(0xffffffffu, run.sum[r], 2));
  }
}

// Joins a finished chunk to those before it.
template <int COLUMNS>
__device__ __forceinline__ void append(Running<COLUMNS>& all, const Running<COLUMNS>& chunk) {
  float keep[2], add[2];
#pragma unroll
  for (int r = 0; r < 2; r++) join(all.top[r], all.sum[r], chunk.top[r], chunk.sum[r], keep[r], add[r]);
#pragma unroll
  for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++)
      all.values[n][e] = joined(all.values[n][e], chunk.values[n][e], keep[e >> 1], add[e >> 1]);
}

// A score in units of log 2: scaled, and bounded where `cap` is above zero.
__device__ __forceinline__ float scaled(float s, float scale, float cap) {
  if (cap > 0.f) return __fmul_rn(__fmul_rn(cap, LOG2_E), tanhf(__fdiv_rn(__fmul_rn(s, scale), cap)));
  return __fmul_rn(s, __fmul_rn(scale, LOG2_E));
}
}  // namespace attention

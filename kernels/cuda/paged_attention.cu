// Attention of a step's rows over the paged cache, for heads of any width up to 256, in F32: the
// form that every other one is held against, and that serves what they do not.
//
// A row sees its sequence's positions up to its own, the last `window` of them; scores are scaled,
// bounded by `cap * tanh(s / cap)`, and joined by a sink where heads have one.
//
// Launch: a block of 4 warps for each head (x) and row (y). A warp takes every fourth page; a lane
// computes one key's score, and one of 32 columns of the output for all keys of the page. The warps'
// parts are joined in order at the end. Which warp reads what is a matter of the position alone, so
// neither the batch nor the cut into steps changes a bit. Reads each key and value of the window
// once a head; the lanes' keys lie kv_heads * head_dim apart.
#include "kv_pages.cuh"
#include "reduce.cuh"

struct PagedAttentionArgs {
  KvPool pool;
  const float* queries;
  const float* sinks;
  float* out;
  unsigned heads, window;
  float scale, cap;
};

constexpr int WARPS = 4, MOST = 256, PARTS = MOST / 32;

template <class Store>
__device__ __forceinline__ void attend(const PagedAttentionArgs& a) {
  __shared__ float query[MOST];
  __shared__ float weights[WARPS][32];
  __shared__ float tops[WARPS], sums[WARPS];
  __shared__ float parts[WARPS][MOST];
  const KvPool& pool = a.pool;
  unsigned head = blockIdx.x, row = blockIdx.y, dim = pool.head_dim;
  unsigned warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  unsigned position = pool.positions[row], end = position + 1;
  unsigned first = a.window && end > a.window ? end - a.window : 0;
  const unsigned* table = pool.pages + pool.starts[pool.sequences[row]];
  size_t at = ((size_t)row * a.heads + head) * dim;
  for (unsigned i = threadIdx.x; i < dim; i += 32 * WARPS) query[i] = a.queries[at + i] * a.scale;
  __syncthreads();
  unsigned kv_head = head / (a.heads / pool.kv_heads), stride = pool.kv_heads * dim;
  float top = -INFINITY, sum = 0.f, acc[PARTS];
#pragma unroll
  for (int p = 0; p < PARTS; p++) acc[p] = 0.f;
  // Groups of 32 keys, counted from the sequence's first: a page is a whole number of them.
  for (unsigned group = first / 32 + (warp + WARPS - first / 32 % WARPS) % WARPS; group * 32 < end; group += WARPS) {
    unsigned start = group * 32, key = start + lane;
    const uint8_t* keys = pool.bytes + table[start / pool.page_tokens] * pool.page_bytes + pool.layer_at;
    size_t slot = (size_t)(start % pool.page_tokens) * stride + kv_head * dim;
    bool seen = key >= first && key < end;
    float score = -INFINITY;
    if (seen) {
      const uint8_t* mine = keys + (slot + (size_t)lane * stride) * Store::BYTES;
      score = 0.f;
      for (unsigned i = 0; i < dim; i++) score = fmaf(query[i], Store::load(mine, i), score);
      if (a.cap > 0.f) score = a.cap * tanhf(score / a.cap);
    }
    float higher = fmaxf(top, warp_max(score));
    float weight = seen ? expf(score - higher) : 0.f;
    float shrink = expf(top - higher);
    sum = sum * shrink + warp_sum(weight);
    top = higher;
    weights[warp][lane] = weight;
    __syncwarp();
    const uint8_t* values = keys + pool.half_bytes + slot * Store::BYTES;
    unsigned from = start < first ? first - start : 0, count = end - start < 32 ? end - start : 32;
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
      unsigned col = p * 32 + lane;
      if (col >= dim) break;
      float value = acc[p] * shrink;
      for (unsigned k = from; k < count; k++)
        value = fmaf(weights[warp][k], Store::load(values, k * stride + col), value);
      acc[p] = value;
    }
    __syncwarp();
  }
  if (lane == 0) {
    tops[warp] = top;
    sums[warp] = sum;
  }
#pragma unroll
  for (int p = 0; p < PARTS; p++)
    if (p * 32 + lane < dim) parts[warp][p * 32 + lane] = acc[p];
  __syncthreads();
  float highest = a.sinks ? a.sinks[head] : -INFINITY;
#pragma unroll
  for (int w = 0; w < WARPS; w++) highest = fmaxf(highest, tops[w]);
  float total = a.sinks ? expf(a.sinks[head] - highest) : 0.f;
#pragma unroll
  for (int w = 0; w < WARPS; w++) total += sums[w] * expf(tops[w] - highest);
  for (unsigned i = threadIdx.x; i < dim; i += 32 * WARPS) {
    float value = 0.f;
#pragma unroll
    for (int w = 0; w < WARPS; w++) value += parts[w][i] * expf(tops[w] - highest);
    a.out[at + i] = value / total;
  }
}

#define OC_ATTEND(suffix, Store)                                                                       \
  extern "C" __global__ void __launch_bounds__(128) paged_attention_##suffix(PagedAttentionArgs a) {   \
    attend<Store>(a);                                                                                  \
  }                                                                                                    \
  OC_KERNEL(paged_attention_##suffix)
OC_KV_FORMATS(OC_ATTEND)

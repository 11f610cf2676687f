// Prefill attention for Hopper: tensor copies, wgmma and a warpgroup that does nothing but copy. F16
// and BF16 caches, heads of 64 and 128 elements; what it computes, and what a tile is, as
// attention_prefill of attention.cu, a tile being of 128 / group tokens.
//
// Launch: a block of 3 warpgroups for each tile (x, last first) and head of the cache (y). The first
// copies keys and values, 128 at a time, to a ring of two stages, 32 tokens by 64 columns a copy; the
// other two compute 64 rows each. They meet at barriers in shared memory: `full` when a stage's bytes
// are there, `empty` when both have done with it. Weights stay in registers between the products.
//
// Memory: keys and values are read once a tile. `keys` and `values` describe the layer's pages as a
// tensor (page, token, head, column), with boxes of (1, 32, 1, 64) swizzled over 128 bytes; a box that
// no page of the sequence holds is asked for behind the last page, where a copy brings zeroes. What a
// page holds behind the sequence's end must be numbers, such as the zeroes of a new cache: they are
// multiplied by weights of zero.
// Shared memory: queries (128, head_dim) and 4 tiles of (128, head_dim).
//
// A row's bits depend on the row alone, as in attention.cu, but they are not the same bits: the
// products of wgmma are rounded differently.
#include "attention.cuh"

struct AttentionSm90Args {
  OcTensorMap keys, values;
  const float* queries;
  const float* sinks;
  float* out;
  const uint4* tiles;
  const unsigned* pages;
  const unsigned* starts;
  unsigned page_tokens, page_count, heads, kv_heads, window;
  float scale, cap;
  unsigned padding[9];
};

namespace hopper {
constexpr int ROWS = 128, KEYS = 128, STAGES = 2, BOX = 32, GROUP = 128;

template <class Element>
struct Packed;
template <>
struct Packed<oc_f16> {
  __device__ __forceinline__ static uint32_t pack(float low, float high) { return oc_pack_f16(low, high); }
};
template <>
struct Packed<oc_bf16> {
  __device__ __forceinline__ static uint32_t pack(float low, float high) { return oc_pack_bf16(low, high); }
};

// A tile of 128 rows is WIDTH / 64 pieces of (128, 64), rows of 128 bytes, swizzled.
constexpr int PIECE = 128 * 128;
template <int WIDTH>
constexpr int tile_bytes() {
  return WIDTH / 64 * PIECE;
}

// A tile's descriptor: swizzled over 128 bytes, `leading` bytes from 64 columns to the next.
__device__ __forceinline__ uint64_t describe(uint32_t address, uint32_t leading) {
  return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

struct Barriers {
  uint32_t at;
  __device__ __forceinline__ uint32_t full_k(int s) const { return at + 8 * s; }
  __device__ __forceinline__ uint32_t full_v(int s) const { return at + 8 * (STAGES + s); }
  __device__ __forceinline__ uint32_t empty_k(int s) const { return at + 8 * (2 * STAGES + s); }
  __device__ __forceinline__ uint32_t empty_v(int s) const { return at + 8 * (3 * STAGES + s); }
};

struct Span {
  unsigned first, end;  // keys, `first` at the beginning of a block
  __device__ __forceinline__ unsigned blocks() const { return (end - first + KEYS - 1) / KEYS; }
};

// Copies a block of keys or values.
template <int WIDTH>
__device__ __forceinline__ void copy(uint32_t to, const OcTensorMap* map, uint32_t full, const AttentionSm90Args& a,
                                     const unsigned* table, unsigned kv_head, unsigned start, unsigned end) {
  oc_mbarrier_expect(full, tile_bytes<WIDTH>());
  for (unsigned box = 0; box < KEYS / BOX; box++) {
    unsigned key = start + box * BOX, page = key / a.page_tokens;
    int where = key < end ? (int)table[page] : (int)a.page_count;
#pragma unroll
    for (int piece = 0; piece < WIDTH / 64; piece++)
      oc_tensor_load_4d(to + piece * PIECE + box * BOX * 128, map, full, piece * 64, (int)kv_head,
                        (int)(key - page * a.page_tokens), where);
  }
}

template <int WIDTH>
__device__ __forceinline__ void produce(uint32_t tiles, Barriers bars, const AttentionSm90Args& a, const unsigned* table,
                                        unsigned kv_head, Span span) {
  constexpr int TILE = tile_bytes<WIDTH>();
  for (unsigned j = 0; j < span.blocks(); j++) {
    int s = j % STAGES;
    unsigned parity = (j / STAGES & 1) ^ 1, start = span.first + j * KEYS;
    oc_mbarrier_wait(bars.empty_k(s), parity);
    copy<WIDTH>(tiles + s * TILE, &a.keys, bars.full_k(s), a, table, kv_head, start, span.end);
    oc_mbarrier_wait(bars.empty_v(s), parity);
    copy<WIDTH>(tiles + (STAGES + s) * TILE, &a.values, bars.full_v(s), a, table, kv_head, start, span.end);
  }
}

// Scores of a block to weights in place; the sums of the values shrink to the new highest score.
template <int WIDTH>
__device__ __forceinline__ void soften(float (&s)[KEYS / 2], float (&acc)[WIDTH / 2], float (&top)[2], float (&sum)[2]) {
  float base[2], shrink[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float highest = top[r];
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++)
      if ((i >> 1 & 1) == r) highest = fmaxf(highest, s[i]);
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
    base[r] = highest == -INFINITY ? 0.f : highest;
    shrink[r] = oc_ex2(top[r] - base[r]);
    top[r] = highest;
    sum[r] *= shrink[r];
  }
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++) {
    s[i] = oc_ex2(s[i] - base[i >> 1 & 1]);
    sum[i >> 1 & 1] += s[i];
  }
#pragma unroll
  for (int i = 0; i < WIDTH / 2; i++) acc[i] *= shrink[i >> 1 & 1];
}

// The rows of one warpgroup: `mine` of the tile's queries against the blocks as they come.
template <class Element, int WIDTH>
__device__ __forceinline__ void consume(uint32_t queries, uint32_t tiles, Barriers bars, const AttentionSm90Args& a, uint4 tile,
                                        unsigned kv_head, unsigned row, Span span) {
  constexpr int TILE = tile_bytes<WIDTH>();
  unsigned group = a.heads / a.kv_heads, lane = threadIdx.x & 31, thread = threadIdx.x % GROUP;
  unsigned own[2] = {tile.z + row / group, tile.z + (row + 8) / group}, last = tile.z + tile.y - 1;
  float acc[WIDTH / 2], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
#pragma unroll
  for (int i = 0; i < WIDTH / 2; i++) acc[i] = 0.f;
  for (unsigned j = 0; j < span.blocks(); j++) {
    int stage = j % STAGES;
    unsigned parity = j / STAGES & 1, start = span.first + j * KEYS;
    float s[KEYS / 2];
    oc_mbarrier_wait(bars.full_k(stage), parity);
    oc_wgmma_fence();
#pragma unroll
    for (int k = 0; k < WIDTH / 16; k++) {
      uint32_t at = (k / 4) * PIECE + (k % 4) * 32;
      oc_wgmma_ss<Element, KEYS>(s, describe(queries + at, 16), describe(tiles + stage * TILE + at, 16), k > 0);
    }
    oc_wgmma_commit();
    oc_wgmma_wait<0>();
    if (thread == 0) oc_mbarrier_arrive(bars.empty_k(stage));
    bool is_edge = start + KEYS - 1 > tile.z || (a.window && start + a.window <= last);
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++) {
      unsigned key = start + i / 4 * 8 + (lane & 3) * 2 + (i & 1), mine = own[i >> 1 & 1];
      bool seen = !is_edge || (key <= mine && (!a.window || key + a.window > mine));
      s[i] = seen ? attention::scaled(s[i], a.scale, a.cap) : -INFINITY;
    }
    soften<WIDTH>(s, acc, top, sum);
    // All weights are packed before the fence: a product between two packings would be waited for.
    uint32_t p[KEYS / 16][4];
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++)
#pragma unroll
      for (int e = 0; e < 4; e++) p[k][e] = Packed<Element>::pack(s[8 * k + 2 * e], s[8 * k + 2 * e + 1]);
    oc_mbarrier_wait(bars.full_v(stage), parity);
    oc_wgmma_fence();
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++)
      oc_wgmma_rs<Element, WIDTH>(acc, p[k], describe(tiles + (STAGES + stage) * TILE + k * 16 * 128, PIECE));
    oc_wgmma_commit();
    oc_wgmma_wait<0>();
    if (thread == 0) oc_mbarrier_arrive(bars.empty_v(stage));
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
    unsigned token = (row + r * 8) / group, head = kv_head * group + (row + r * 8) % group;
    if (token >= tile.y) continue;
    float keep = 1.f, add;
    if (a.sinks) attention::join(top[r], sum[r], a.sinks[head] * attention::LOG2_E, 1.f, keep, add);
    float factor = keep / sum[r];
    float* out = a.out + ((size_t)(tile.x + token) * a.heads + head) * WIDTH + (lane & 3) * 2;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++)
      *reinterpret_cast<float2*>(out + n * 8) = make_float2(acc[4 * n + 2 * r] * factor, acc[4 * n + 2 * r + 1] * factor);
  }
}

// Rounds the tile's queries to shared memory, swizzled as wgmma reads them.
template <class Element, int WIDTH>
__device__ __forceinline__ void load_queries(unsigned char* shared, const AttentionSm90Args& a, uint4 tile, unsigned kv_head) {
  unsigned group = a.heads / a.kv_heads;
  for (int i = threadIdx.x - GROUP; i < ROWS * WIDTH / 4; i += 2 * GROUP) {
    unsigned row = i / (WIDTH / 4), column = i % (WIDTH / 4) * 4, token = row / group;
    float4 q = make_float4(0.f, 0.f, 0.f, 0.f);
    if (token < tile.y)
      q = *reinterpret_cast<const float4*>(
          a.queries + ((size_t)(tile.x + token) * a.heads + kv_head * group + row % group) * WIDTH + column);
    unsigned at = column / 64 * PIECE + row * 128 + column % 64 * 2;
    at ^= (at >> 7 & 7) << 4;
    *reinterpret_cast<uint2*>(shared + at) =
        make_uint2(Packed<Element>::pack(q.x, q.y), Packed<Element>::pack(q.z, q.w));
  }
}

template <class Element, int WIDTH>
__device__ __forceinline__ void prefill(const AttentionSm90Args& a) {
  __shared__ __align__(8) uint64_t room[4 * STAGES];
  OC_DYN_SMEM(shared);
  uint32_t queries = oc_smem_u32(shared), tiles = queries + tile_bytes<WIDTH>();
  Barriers bars = {oc_smem_u32(room)};
  uint4 tile = a.tiles[gridDim.x - 1 - blockIdx.x];
  unsigned kv_head = blockIdx.y, hidden = a.window && tile.z + 1 > a.window ? tile.z + 1 - a.window : 0;
  Span span = {hidden / KEYS * KEYS, tile.z + tile.y};
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      oc_mbarrier_init(bars.full_k(s), 1);
      oc_mbarrier_init(bars.full_v(s), 1);
      oc_mbarrier_init(bars.empty_k(s), 2);
      oc_mbarrier_init(bars.empty_v(s), 2);
    }
    oc_fence_mbarrier_init();
  }
  if (threadIdx.x >= GROUP) load_queries<Element, WIDTH>(shared, a, tile, kv_head);
  oc_fence_async_shared();
  __syncthreads();
  if (threadIdx.x < GROUP) {
    oc_registers_fewer<24>();
    if (threadIdx.x == 0)
      produce<WIDTH>(tiles, bars, a, a.pages + a.starts[tile.w], kv_head, span);
  } else {
    oc_registers_more<240>();
    unsigned half = threadIdx.x / GROUP - 1, thread = threadIdx.x % GROUP;
    unsigned row = half * 64 + thread / 32 * 16 + thread % 32 / 4;
    consume<Element, WIDTH>(queries + half * 64 * 128, tiles, bars, a, tile, kv_head, row, span);
  }
}
}  // namespace hopper

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define OC_SM90(suffix, Element, width)                                                           \
  extern "C" __global__ void __launch_bounds__(384, 1) attention_sm90_##suffix##_##width(         \
      const __grid_constant__ AttentionSm90Args a) {                                              \
    hopper::prefill<Element, width>(a);                                                           \
  }                                                                                               \
  OC_KERNEL(attention_sm90_##suffix##_##width)
OC_SM90(f16, oc_f16, 64)
OC_SM90(f16, oc_f16, 128)
OC_SM90(bf16, oc_bf16, 64)
OC_SM90(bf16, oc_bf16, 128)
#endif

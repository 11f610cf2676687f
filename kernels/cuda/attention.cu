// Attention of decoders over the paged cache, on tensor cores: heads of 64, 96, 128 and 256 elements,
// keys and values as F16, BF16 or E4M3. Queries are rounded to F16 (BF16 for a BF16 cache).
//
// A query sees its sequence's positions up to its own, the last `window` of them where that is not 0;
// scores are scaled, bounded by `cap * tanh(s / cap)` where `cap` is above 0, and joined by a sink.
// The heads that share keys are rows of one tile, so each key is read once for all of them.
//
// attention_prefill: a block of 4 warps for each tile of 64 / group tokens (x, last first: they are
// the longest under causality) and each head of the cache (y; twice as many for heads of 256, which
// a block computes in halves of columns). A tile is (first row, rows, first position, sequence).
// attention_decode: a block of one warp for each chunk of 512 positions (x), head of the cache (y)
// and row (z); it writes the chunk's part of the softmax. Blocks of chunks that a row does not see
// end at once, so a captured launch may allow for more than there are.
// attention_join: a block a head (x) and row (y) joins the chunks in order.
//
// Memory: each key and value of the window is read once a tile, in runs of head_dim elements; its
// copy to shared memory runs while the other of the two tiles is computed with. Pages are a multiple
// of 32 tokens. Shared memory: 3 tiles of (64, head_dim); for decode 2 and 16 rows.
#include "attention.cuh"

struct AttentionArgs {
  KvPool pool;
  const float* queries;
  const float* sinks;
  float* out;
  const uint4* tiles;
  float* parts;    // (rows, heads, chunks, head_dim)
  float2* weights; // (rows, heads, chunks): highest score, sum
  unsigned heads, window, chunks, rows;
  float scale, cap;
};

namespace attention {
struct Tile {
  unsigned row, tokens, position, sequence;
};

// How a cache's elements come to a tile of 16-bit ones.
template <class Store>
struct Form {
  using Element = Halves;
};
template <>
struct Form<kv::BF16> {
  using Element = Brains;
};

// Copies columns `column` to `column + WIDTH` of the KEYS keys (or values) from `start` to a tile.
// Rows at or behind `end` become zeros. Ends a group of asynchronous copies.
template <class Store, int WIDTH, int THREADS>
__device__ __forceinline__ void load(uint32_t tile, unsigned char* shared, const KvPool& pool, const unsigned* table,
                                     bool values, unsigned head, unsigned column, unsigned start, unsigned end) {
  constexpr int PIECES = WIDTH / 8;
  // KEYS keys lie on one page or two.
  unsigned page = start / pool.page_tokens, slot = start - page * pool.page_tokens;
  unsigned split = pool.page_tokens - slot;
  size_t width = (size_t)pool.kv_heads * pool.head_dim;
  size_t inner = (size_t)slot * width + head * pool.head_dim + column;
  uint64_t layer = pool.layer_at + (values ? pool.half_bytes : 0);
  const uint8_t* first = pool.bytes + table[page] * pool.page_bytes + layer;
  const uint8_t* second = start + split < end ? pool.bytes + table[page + 1] * pool.page_bytes + layer : first;
  for (int i = threadIdx.x; i < KEYS * PIECES; i += THREADS) {
    unsigned row = i / PIECES, piece = i % PIECES;
    bool there = start + row < end;
    size_t at = inner + row * width + piece * 8;
    const uint8_t* page_bytes = first;
    if (row >= split) {
      page_bytes = second;
      at -= (size_t)pool.page_tokens * width;
    }
    const uint8_t* from = there ? page_bytes + at * Store::BYTES : first;
    unsigned to = row * stride(WIDTH) + piece * 16;
    if (Store::BYTES == 2) {
      oc_cp_async16(tile + to, from, there);
    } else {
      uint2 bytes = there ? *reinterpret_cast<const uint2*>(from) : make_uint2(0u, 0u);
      uint4 halves = make_uint4(oc_e4m3x2_to_f16((uint16_t)bytes.x), oc_e4m3x2_to_f16((uint16_t)(bytes.x >> 16)),
                                oc_e4m3x2_to_f16((uint16_t)bytes.y), oc_e4m3x2_to_f16((uint16_t)(bytes.y >> 16)));
      *reinterpret_cast<uint4*>(shared + to) = halves;
    }
  }
  oc_cp_async_commit();
}

// The place of a row of a tile: its token and head; rows behind the last are not there.
struct Row {
  bool there;
  unsigned token, head, position;
};
__device__ __forceinline__ Row row_of(const AttentionArgs& a, const Tile& tile, unsigned kv_head, unsigned row) {
  unsigned group = a.heads / a.pool.kv_heads, token = row / group;
  return {token < tile.tokens, tile.row + token, kv_head * group + row % group, tile.position + token};
}

// Rounds the queries of a tile to its first rows of shared memory.
template <class Element, int WIDTH, int WARPS>
__device__ __forceinline__ void load_queries(unsigned char* shared, const AttentionArgs& a, const Tile& tile,
                                             unsigned kv_head) {
  constexpr int PIECES = WIDTH / 4;
  for (int i = threadIdx.x; i < WARPS * 16 * PIECES; i += WARPS * 32) {
    unsigned at = i / PIECES, piece = i % PIECES;
    Row row = row_of(a, tile, kv_head, at);
    float4 q = make_float4(0.f, 0.f, 0.f, 0.f);
    if (row.there)
      q = *reinterpret_cast<const float4*>(a.queries + ((size_t)row.token * a.heads + row.head) * WIDTH + piece * 4);
    *reinterpret_cast<uint2*>(shared + at * stride(WIDTH) + piece * 8) =
        make_uint2(Element::pack(q.x, q.y), Element::pack(q.z, q.w));
  }
}

// One tile against the keys from `from` to `end`, which begin a block; `all` becomes their softmax.
template <class Store, int WIDTH, int WARPS, int COLUMNS>
__device__ __forceinline__ void attend(Running<COLUMNS>& all, const AttentionArgs& a, const Tile& tile, unsigned kv_head,
                                       unsigned column, unsigned from, unsigned end) {
  using Element = typename Form<Store>::Element;
  constexpr int THREADS = WARPS * 32, K_BYTES = KEYS * stride(WIDTH), Q_BYTES = WARPS * 16 * stride(WIDTH);
  OC_DYN_SMEM(shared);
  unsigned char *k_tile = shared + Q_BYTES, *v_tile = k_tile + K_BYTES;
  uint32_t queries = oc_smem_u32(shared), keys = queries + Q_BYTES, values = keys + K_BYTES;
  const unsigned* table = a.pool.pages + a.pool.starts[tile.sequence];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  load<Store, WIDTH, THREADS>(keys, k_tile, a.pool, table, false, kv_head, 0, from, end);
  load<Store, COLUMNS, THREADS>(values, v_tile, a.pool, table, true, kv_head, column, from, end);
  load_queries<Element, WIDTH, WARPS>(shared, a, tile, kv_head);
  unsigned group = a.heads / a.pool.kv_heads;
  unsigned mine = warp * 16 + (lane >> 2);
  unsigned position[2] = {tile.position + mine / group, tile.position + (mine + 8) / group};
  unsigned last = tile.position + tile.tokens - 1;
  Running<COLUMNS> chunk;
  chunk.clear();
  all.clear();
  for (unsigned start = from; start < end; start += KEYS) {
    oc_cp_async_wait<1>();
    __syncthreads();
    float s[KEYS / 8][4];
    score<Element, WIDTH>(s, queries + warp * 16 * stride(WIDTH), keys, lane);
    __syncthreads();
    if (start + KEYS < end)
      load<Store, WIDTH, THREADS>(keys, k_tile, a.pool, table, false, kv_head, 0, start + KEYS, end);
    else
      oc_cp_async_commit();
    bool is_edge = start + KEYS - 1 > tile.position || (a.window && start + a.window <= last);
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float value = scaled(s[n][e], a.scale, a.cap);
        unsigned key = start + n * 8 + (lane & 3) * 2 + (e & 1), own = position[e >> 1];
        bool seen = !is_edge || (key <= own && (!a.window || key + a.window > own));
        s[n][e] = seen ? value : -INFINITY;
      }
    soften(chunk, s);
    oc_cp_async_wait<1>();
    __syncthreads();
    weigh<Element, COLUMNS>(chunk.values, s, values, lane);
    __syncthreads();
    if (start + KEYS < end)
      load<Store, COLUMNS, THREADS>(values, v_tile, a.pool, table, true, kv_head, column, start + KEYS, end);
    else
      oc_cp_async_commit();
    if ((start + KEYS) % CHUNK == 0 || start + KEYS >= end) {
      finish(chunk);
      append(all, chunk);
      chunk.clear();
    }
  }
  oc_cp_async_wait<0>();
}

// The first key that a tile's rows see, at the beginning of a block.
__device__ __forceinline__ unsigned first_key(const AttentionArgs& a, unsigned position) {
  unsigned hidden = a.window && position + 1 > a.window ? position + 1 - a.window : 0;
  return hidden / KEYS * KEYS;
}

template <class Store, int WIDTH>
__device__ __forceinline__ void prefill(const AttentionArgs& a) {
  constexpr int COLUMNS = WIDTH > 128 ? WIDTH / 2 : WIDTH, HALVES = WIDTH / COLUMNS;
  uint4 packed = a.tiles[gridDim.x - 1 - blockIdx.x];
  Tile tile = {packed.x, packed.y, packed.z, packed.w};
  unsigned kv_head = blockIdx.y / HALVES, column = blockIdx.y % HALVES * COLUMNS;
  Running<COLUMNS> all;
  attend<Store, WIDTH, 4>(all, a, tile, kv_head, column, first_key(a, tile.position), tile.position + tile.tokens);
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    Row row = row_of(a, tile, kv_head, warp * 16 + (lane >> 2) + r * 8);
    if (!row.there) continue;
    float keep = 1.f, add;
    if (a.sinks) join(all.top[r], all.sum[r], __fmul_rn(a.sinks[row.head], LOG2_E), 1.f, keep, add);
    float* out = a.out + ((size_t)row.token * a.heads + row.head) * WIDTH + column + (lane & 3) * 2;
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
      *reinterpret_cast<float2*>(out + n * 8) =
          make_float2(__fdiv_rn(__fmul_rn(all.values[n][2 * r], keep), all.sum[r]),
                      __fdiv_rn(__fmul_rn(all.values[n][2 * r + 1], keep), all.sum[r]));
  }
}

template <class Store, int WIDTH>
__device__ __forceinline__ void decode(const AttentionArgs& a) {
  constexpr int COLUMNS = WIDTH > 128 ? WIDTH / 2 : WIDTH, HALVES = WIDTH / COLUMNS;
  unsigned row = blockIdx.z, position = a.pool.positions[row];
  Tile tile = {row, 1, position, a.pool.sequences[row]};
  unsigned from = max(blockIdx.x * CHUNK, first_key(a, position)), end = min((blockIdx.x + 1) * CHUNK, position + 1);
  if (from >= end) return;
  unsigned kv_head = blockIdx.y / HALVES, column = blockIdx.y % HALVES * COLUMNS;
  Running<COLUMNS> all;
  attend<Store, WIDTH, 1>(all, a, tile, kv_head, column, from, end);
  int lane = threadIdx.x & 31;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    Row own = row_of(a, tile, kv_head, (lane >> 2) + r * 8);
    if (!own.there) continue;
    size_t at = ((size_t)row * a.heads + own.head) * a.chunks + blockIdx.x;
    if ((lane & 3) == 0 && column == 0) a.weights[at] = make_float2(all.top[r], all.sum[r]);
    float* out = a.parts + at * WIDTH + column + (lane & 3) * 2;
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
      *reinterpret_cast<float2*>(out + n * 8) = make_float2(all.values[n][2 * r], all.values[n][2 * r + 1]);
  }
}
}  // namespace attention

extern "C" __global__ void __launch_bounds__(256) attention_join(AttentionArgs a) {
  unsigned head = blockIdx.x, row = blockIdx.y, column = threadIdx.x, position = a.pool.positions[row];
  size_t at = ((size_t)row * a.heads + head) * a.chunks;
  float top = -INFINITY, sum = 0.f, value = 0.f, keep, add;
  for (unsigned c = attention::first_key(a, position) / attention::CHUNK; c <= position / attention::CHUNK; c++) {
    float2 part = a.weights[at + c];
    attention::join(top, sum, part.x, part.y, keep, add);
    value = attention::joined(value, a.parts[(at + c) * a.pool.head_dim + column], keep, add);
  }
  keep = 1.f;
  if (a.sinks) attention::join(top, sum, __fmul_rn(a.sinks[head], attention::LOG2_E), 1.f, keep, add);
  a.out[((size_t)row * a.heads + head) * a.pool.head_dim + column] = __fdiv_rn(__fmul_rn(value, keep), sum);
}
OC_KERNEL(attention_join)

#define OC_ATTENTION(suffix, Store, width)                                                                     \
  extern "C" __global__ void __launch_bounds__(128, 2) attention_prefill_##suffix##_##width(AttentionArgs a) { \
    attention::prefill<Store, width>(a);                                                                       \
  }                                                                                                            \
  OC_KERNEL(attention_prefill_##suffix##_##width)                                                              \
  extern "C" __global__ void __launch_bounds__(32) attention_decode_##suffix##_##width(AttentionArgs a) {      \
    attention::decode<Store, width>(a);                                                                        \
  }                                                                                                            \
  OC_KERNEL(attention_decode_##suffix##_##width)
#define OC_ATTENTION_WIDTHS(suffix, Store) \
  OC_ATTENTION(suffix, Store, 64)          \
  OC_ATTENTION(suffix, Store, 96)          \
  OC_ATTENTION(suffix, Store, 128)         \
  OC_ATTENTION(suffix, Store, 256)
OC_ATTENTION_WIDTHS(f16, kv::F16)
OC_ATTENTION_WIDTHS(bf16, kv::BF16)
OC_ATTENTION_WIDTHS(e4m3, kv::E4M3)

// Attention of encoders, on tensor cores: whole sequences, each token seeing those before and behind it,
// or `window` of them to either side where that is not 0. Heads of 32, 64, 96 and 128 elements. Queries,
// keys and values stand side by side in F32, (tokens, 3, heads, head_dim), and are rounded to F16.
//
// Launch: a block of 4 warps for each tile of 64 tokens of one sequence (x) and each head (y). A tile is
// (first row, rows, first row of its sequence, rows of its sequence).
//
// Memory: a tile's queries are read once, its sequence's keys and values (those of the window) once a
// tile, in runs of head_dim floats, by all threads between two barriers: an encoder's sequences are
// short, and its other blocks go on meanwhile. Shared memory: 3 tiles of (64, head_dim).
//
// The arithmetic is that of attention.cuh, keys counted from the sequence's first: a token's bits depend
// on its own sequence only.
#include "attention.cuh"

struct EncoderAttentionArgs {
  const float* qkv;
  float* out;
  const uint4* tiles;
  unsigned heads, window;
  float scale;
  unsigned padding;
};

namespace attention {
// Rounds `count` rows of one part (0 queries, 1 keys, 2 values) to a tile; zeroes behind them.
template <int WIDTH>
__device__ __forceinline__ void load_part(unsigned char* tile, const EncoderAttentionArgs& a, unsigned part, unsigned row,
                                          unsigned count) {
  constexpr int PIECES = WIDTH / 4;
  for (unsigned i = threadIdx.x; i < KEYS * PIECES; i += 128) {
    unsigned at = i / PIECES, piece = i % PIECES;
    float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
    if (at < count)
      v = *reinterpret_cast<const float4*>(a.qkv + (((size_t)(row + at) * 3 + part) * a.heads + blockIdx.y) * WIDTH + piece * 4);
    *reinterpret_cast<uint2*>(tile + at * stride(WIDTH) + piece * 8) = make_uint2(Halves::pack(v.x, v.y), Halves::pack(v.z, v.w));
  }
}

template <int WIDTH>
__device__ __forceinline__ void encode(const EncoderAttentionArgs& a) {
  constexpr int BYTES = KEYS * stride(WIDTH);
  OC_DYN_SMEM(shared);
  uint32_t queries = oc_smem_u32(shared), keys = queries + BYTES, values = keys + BYTES;
  uint4 tile = a.tiles[blockIdx.x];
  unsigned first = tile.x - tile.z, length = tile.w, last = first + tile.y - 1;
  unsigned hidden = a.window && first > a.window ? first - a.window : 0;
  unsigned from = hidden / KEYS * KEYS, end = a.window ? min(length, last + a.window + 1) : length;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  unsigned own[2] = {first + warp * 16 + (lane >> 2), first + warp * 16 + (lane >> 2) + 8};
  load_part<WIDTH>(shared, a, 0, tile.x, tile.y);
  Running<WIDTH> all, chunk;
  all.clear();
  chunk.clear();
  for (unsigned start = from; start < end; start += KEYS) {
    __syncthreads();
    unsigned count = min(end - start, (unsigned)KEYS);
    load_part<WIDTH>(shared + BYTES, a, 1, tile.z + start, count);
    load_part<WIDTH>(shared + 2 * BYTES, a, 2, tile.z + start, count);
    __syncthreads();
    float s[KEYS / 8][4];
    score<Halves, WIDTH>(s, queries + warp * 16 * stride(WIDTH), keys, lane);
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        unsigned key = start + n * 8 + (lane & 3) * 2 + (e & 1), mine = own[e >> 1];
        bool near = !a.window || (key + a.window >= mine && mine + a.window >= key);
        s[n][e] = key < end && near ? scaled(s[n][e], a.scale, 0.f) : -INFINITY;
      }
    soften(chunk, s);
    weigh<Halves, WIDTH>(chunk.values, s, values, lane);
    if ((start + KEYS) % CHUNK == 0 || start + KEYS >= end) {
      finish(chunk);
      append(all, chunk);
      chunk.clear();
    }
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    unsigned row = warp * 16 + (lane >> 2) + r * 8;
    if (row >= tile.y) continue;
    float* out = a.out + ((size_t)(tile.x + row) * a.heads + blockIdx.y) * WIDTH + (lane & 3) * 2;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++)
      *reinterpret_cast<float2*>(out + n * 8) =
          make_float2(__fdiv_rn(all.values[n][2 * r], all.sum[r]), __fdiv_rn(all.values[n][2 * r + 1], all.sum[r]));
  }
}
}  // namespace attention

#define OC_ENCODER(width)                                                                                   \
  extern "C" __global__ void __launch_bounds__(128, 2) attention_encoder_##width(EncoderAttentionArgs a) {  \
    attention::encode<width>(a);                                                                            \
  }                                                                                                         \
  OC_KERNEL(attention_encoder_##width)
OC_ENCODER(32)
OC_ENCODER(64)
OC_ENCODER(96)
OC_ENCODER(128)

// Where keys and values lie: pages of PAGE tokens, each with all layers, each layer with its keys
// and behind them its values, (PAGE, kv_heads, head_dim). The same bytes as the cache on the CPU.
#pragma once
#include "ptx.cuh"

struct KvPool {
  uint8_t* bytes;
  const unsigned* pages;      // of the step's sequences, one sequence's behind the other's
  const unsigned* starts;     // where each sequence's begin among them
  const unsigned* sequences;  // of each row
  const unsigned* positions;  // of each row
  uint64_t page_bytes, layer_at, half_bytes;
  unsigned page_tokens, kv_heads, head_dim, padding;
};

namespace kv {
struct F32 {
  static constexpr int BYTES = 4;
  __device__ __forceinline__ static float load(const uint8_t* p, unsigned i) { return ((const float*)p)[i]; }
  __device__ __forceinline__ static void store(uint8_t* p, unsigned i, float v) { ((float*)p)[i] = v; }
};
struct F16 {
  static constexpr int BYTES = 2;
  __device__ __forceinline__ static float load(const uint8_t* p, unsigned i) {
    return oc_unpack_f16(((const uint16_t*)p)[i]).x;
  }
  // What is beyond a half's range becomes the largest, as on the CPU.
  __device__ __forceinline__ static void store(uint8_t* p, unsigned i, float v) {
    v = fminf(fmaxf(v, -65504.f), 65504.f);
    ((uint16_t*)p)[i] = (uint16_t)oc_pack_f16(v, 0.f);
  }
};
struct BF16 {
  static constexpr int BYTES = 2;
  __device__ __forceinline__ static float load(const uint8_t* p, unsigned i) {
    return __uint_as_float((unsigned)((const uint16_t*)p)[i] << 16);
  }
  __device__ __forceinline__ static void store(uint8_t* p, unsigned i, float v) {
    ((uint16_t*)p)[i] = (uint16_t)oc_pack_bf16(v, 0.f);
  }
};
struct E4M3 {
  static constexpr int BYTES = 1;
  __device__ __forceinline__ static float load(const uint8_t* p, unsigned i) {
    return oc_unpack_f16(oc_e4m3x2_to_f16((uint16_t)p[i])).x;
  }
  __device__ __forceinline__ static void store(uint8_t* p, unsigned i, float v) { p[i] = oc_f32_to_e4m3(v); }
};
}  // namespace kv

#define OC_KV_FORMATS(define) \
  define(f32, kv::F32) define(f16, kv::F16) define(bf16, kv::BF16) define(e4m3, kv::E4M3)

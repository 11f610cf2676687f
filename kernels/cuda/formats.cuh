// How weights are stored: plain floats, or ggml's blocks of quantised ones, little-endian.
//
// A format has LEN elements a block of BYTES bytes, and `load8`, which gives the 8 consecutive
// elements of a row that begin at `col`, a multiple of 8. Blocks lie where the file has them, so
// their bytes are read one by one unless a comment says what alignment is known.
#pragma once
#include "ptx.cuh"

namespace formats {

__device__ __forceinline__ float half_at(const uint8_t* p) {
  unsigned bits = (unsigned)p[0] | (unsigned)p[1] << 8;
  return oc_unpack_f16(bits).x;
}

struct F32 {
  static constexpr int LEN = 1, BYTES = 4;
  // Rows are aligned to 4 bytes; to 16 where the width is a multiple of 4.
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const float* p = (const float*)row + col;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = p[i];
  }
  __device__ __forceinline__ static float load1(const uint8_t* row, int col) {
    return ((const float*)row)[col];
  }
};

struct F16 {
  static constexpr int LEN = 1, BYTES = 2;
  // Rows are aligned to 2 bytes.
  __device__ __forceinline__ static float load1(const uint8_t* row, int col) {
    return oc_unpack_f16(((const uint16_t*)row)[col]).x;
  }
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* p = row + 2 * col;
    if (((uint64_t)p & 15) == 0) {
      uint4 v = *(const uint4*)p;
      unsigned w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float2 f = oc_unpack_f16(w[i]);
        out[2 * i] = f.x;
        out[2 * i + 1] = f.y;
      }
    } else {
#pragma unroll
      for (int i = 0; i < 8; i++) out[i] = load1(row, col + i);
    }
  }
};

struct BF16 {
  static constexpr int LEN = 1, BYTES = 2;
  // Rows are aligned to 2 bytes.
  __device__ __forceinline__ static float load1(const uint8_t* row, int col) {
    return __uint_as_float((unsigned)((const uint16_t*)row)[col] << 16);
  }
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* p = row + 2 * col;
    if (((uint64_t)p & 15) == 0) {
      uint4 v = *(const uint4*)p;
      unsigned w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float2 f = oc_unpack_bf16(w[i]);
        out[2 * i] = f.x;
        out[2 * i + 1] = f.y;
      }
    } else {
#pragma unroll
      for (int i = 0; i < 8; i++) out[i] = load1(row, col + i);
    }
  }
};

// A block of a quantised format gives its elements 8 at a time only: rows are whole blocks.
#define OC_BLOCKS_LOAD1                                                              \
  __device__ __forceinline__ static float load1(const uint8_t* row, int col) {       \
    float values[8];                                                                 \
    load8(row, col & ~7, values);                                                    \
    float value = 0.f;                                                               \
    _Pragma("unroll") for (int i = 0; i < 8; i++) if (i == (col & 7)) value = values[i]; \
    return value;                                                                    \
  }

// Signed bytes with one half scale.
struct Q8_0 {
  static constexpr int LEN = 32, BYTES = 34;
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* block = row + col / LEN * BYTES;
    float d = half_at(block);
    const int8_t* q = (const int8_t*)block + 2 + col % LEN;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = d * (float)q[i];
  }
  OC_BLOCKS_LOAD1
};

// Four bits less 8, with one half scale; the low halves are the first 16 elements.
struct Q4_0 {
  static constexpr int LEN = 32, BYTES = 18;
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* block = row + col / LEN * BYTES;
    float d = half_at(block);
    int at = col % LEN, shift = at < 16 ? 0 : 4;
    const uint8_t* q = block + 2 + at % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = d * (float)((int)(q[i] >> shift & 15) - 8);
  }
  OC_BLOCKS_LOAD1
};

// As Q4_0, with a half minimum in the place of the 8.
struct Q4_1 {
  static constexpr int LEN = 32, BYTES = 20;
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* block = row + col / LEN * BYTES;
    float d = half_at(block), m = half_at(block + 2);
    int at = col % LEN, shift = at < 16 ? 0 : 4;
    const uint8_t* q = block + 4 + at % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = d * (float)(q[i] >> shift & 15) + m;
  }
  OC_BLOCKS_LOAD1
};

// As Q4_0, with fifth bits in a word of their own, less 16.
struct Q5_0 {
  static constexpr int LEN = 32, BYTES = 22;
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* block = row + col / LEN * BYTES;
    float d = half_at(block);
    int at = col % LEN, shift = at < 16 ? 0 : 4;
    unsigned high = block[2 + at / 8];
    const uint8_t* q = block + 6 + at % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int code = (int)(q[i] >> shift & 15) | (int)(high >> i & 1) << 4;
      out[i] = d * (float)(code - 16);
    }
  }
  OC_BLOCKS_LOAD1
};

// As Q5_0, with a half minimum in the place of the 16.
struct Q5_1 {
  static constexpr int LEN = 32, BYTES = 24;
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* block = row + col / LEN * BYTES;
    float d = half_at(block), m = half_at(block + 2);
    int at = col % LEN, shift = at < 16 ? 0 : 4;
    unsigned high = block[4 + at / 8];
    const uint8_t* q = block + 8 + at % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int code = (int)(q[i] >> shift & 15) | (int)(high >> i & 1) << 4;
      out[i] = d * (float)code + m;
    }
  }
  OC_BLOCKS_LOAD1
};

// Scale and minimum of group `g` (0..8) of a super-block: 6 bits each, packed in 12 bytes.
__device__ __forceinline__ void six_bits(const uint8_t* s, int g, int& scale, int& minimum) {
  if (g < 4) {
    scale = s[g] & 63;
    minimum = s[g + 4] & 63;
  } else {
    scale = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
    minimum = (s[g + 4] >> 4) | (s[g] >> 6) << 4;
  }
}

// 256 four-bit numbers in 8 groups, each with a six-bit scale and minimum.
struct Q4_K {
  static constexpr int LEN = 256, BYTES = 144;
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* block = row + col / LEN * BYTES;
    int at = col % LEN, group = at / 32, scale, minimum;
    six_bits(block + 4, group, scale, minimum);
    float d = half_at(block) * (float)scale, m = half_at(block + 2) * (float)minimum;
    int shift = group & 1 ? 4 : 0;
    const uint8_t* q = block + 16 + group / 2 * 32 + at % 32;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = d * (float)(q[i] >> shift & 15) - m;
  }
  OC_BLOCKS_LOAD1
};

// As Q4_K, with fifth bits in 32 bytes of their own.
struct Q5_K {
  static constexpr int LEN = 256, BYTES = 176;
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* block = row + col / LEN * BYTES;
    int at = col % LEN, group = at / 32, scale, minimum;
    six_bits(block + 4, group, scale, minimum);
    float d = half_at(block) * (float)scale, m = half_at(block + 2) * (float)minimum;
    int shift = group & 1 ? 4 : 0;
    const uint8_t* high = block + 16 + at % 32;
    const uint8_t* q = block + 48 + group / 2 * 32 + at % 32;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int code = (int)(q[i] >> shift & 15) | (int)(high[i] >> group & 1) << 4;
      out[i] = d * (float)code - m;
    }
  }
  OC_BLOCKS_LOAD1
};

// 256 six-bit numbers less 32 in 16 groups, each with a scale of a signed byte.
struct Q6_K {
  static constexpr int LEN = 256, BYTES = 210;
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* block = row + col / LEN * BYTES;
    int at = col % LEN, half = at / 128, rest = at % 128, quarter = rest / 32, lane = rest % 32;
    const uint8_t* low = block + half * 64 + (quarter & 1) * 32 + lane;
    const uint8_t* high = block + 128 + half * 32 + lane;
    float d = half_at(block + 208) * (float)((const int8_t*)block)[192 + half * 8 + rest / 16];
    int shift = quarter < 2 ? 0 : 4;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int code = (int)(low[i] >> shift & 15) | (int)(high[i] >> 2 * quarter & 3) << 4;
      out[i] = d * (float)(code - 32);
    }
  }
  OC_BLOCKS_LOAD1
};

// E2M1's magnitudes doubled, by their code; the fourth bit is the sign.
__device__ __forceinline__ float e2m1_twice(unsigned code) {
  unsigned magnitude = code & 7;
  int value = magnitude < 4 ? (int)magnitude : magnitude == 4 ? 4 : magnitude == 5 ? 6
                                             : magnitude == 6 ? 8 : 12;
  return code & 8 ? -(float)value : (float)value;
}

// OCP Microscaling's MXFP4: 32 floats of four bits with one power of two, halved for `e2m1_twice`.
struct MXFP4 {
  static constexpr int LEN = 32, BYTES = 17;
  __device__ __forceinline__ static void load8(const uint8_t* row, int col, float (&out)[8]) {
    const uint8_t* block = row + col / LEN * BYTES;
    unsigned e = block[0];
    float d = e >= 2 ? __uint_as_float((e - 1) << 23) : __uint_as_float(0x00200000u << e);
    int at = col % LEN, shift = at < 16 ? 0 : 4;
    const uint8_t* q = block + 1 + at % 16;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = d * e2m1_twice(q[i] >> shift & 15);
  }
  OC_BLOCKS_LOAD1
};

}  // namespace formats

// Defines `kernel` for every format: OC_FORMATS(define) with define(suffix, Format).
#define OC_FORMATS(define) \
  define(f32, formats::F32) define(f16, formats::F16) define(bf16, formats::BF16) \
  define(q8_0, formats::Q8_0) define(q4_0, formats::Q4_0) define(q4_1, formats::Q4_1) \
  define(q5_0, formats::Q5_0) define(q5_1, formats::Q5_1) define(q4_k, formats::Q4_K) \
  define(q5_k, formats::Q5_K) define(q6_k, formats::Q6_K) define(mxfp4, formats::MXFP4)

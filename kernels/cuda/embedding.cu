// Rows of a table, by their numbers: out[i] = multiplier * table[ids[i]], in F32.
//
// Launch: a block of 256 threads for each row and 2048 columns. Reads each chosen row once, 8
// elements a thread, and writes 32 bytes a thread; bound by memory. An id outside the table gives
// NaN, never a read outside it.
#include "formats.cuh"

struct GatherArgs {
  const uint8_t* table;
  const unsigned* ids;
  float* out;
  uint64_t row_bytes;
  unsigned rows, cols;
  float multiplier;
};

template <class Format>
__device__ __forceinline__ void gather(const GatherArgs& a) {
  unsigned row = blockIdx.x, id = a.ids[row], col = (blockIdx.y * 256 + threadIdx.x) * 8;
  float* out = a.out + (size_t)row * a.cols + col;
  const uint8_t* from = a.table + (size_t)id * a.row_bytes;
  bool inside = id < a.rows;
  if (col + 8 <= a.cols) {
    float v[8];
    if (inside) Format::load8(from, col, v);
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = inside ? v[i] * a.multiplier : __uint_as_float(0x7fc00000u);
  } else {
    for (unsigned i = 0; col + i < a.cols; i++)
      out[i] = inside ? Format::load1(from, col + i) * a.multiplier : __uint_as_float(0x7fc00000u);
  }
}

#define OC_GATHER(suffix, Format)                                                        \
  extern "C" __global__ void __launch_bounds__(256) gather_##suffix(GatherArgs a) {      \
    gather<Format>(a);                                                                   \
  }                                                                                      \
  OC_KERNEL(gather_##suffix)
OC_FORMATS(OC_GATHER)

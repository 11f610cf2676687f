// Products of rows with a matrix of weights as it is stored: y[t][r] = x[t] . w[r] + bias[r], in F32;
// where `accumulate`, y[t][r] += that.
//
// Launch: a block of 8 warps for 8 rows of weights (x) and TOKENS rows of x (y). A warp takes a row of
// weights, a lane every 32nd group of 8 of its elements; the lanes' sums are joined by a tree. The
// order of an output's sum is a matter of the columns alone: the same for one token and for a
// thousand. Weights are read once for each TOKENS tokens, 16 bytes a lane where they are aligned;
// for few tokens the kernel is bound by that.
#include "formats.cuh"
#include "reduce.cuh"

struct LinearArgs {
  const uint8_t* weight;
  const float* bias;
  const float* x;
  float* y;
  uint64_t row_bytes;
  unsigned rows, cols, tokens, accumulate;
};

constexpr int TOKENS = 8;

template <class Format>
__device__ __forceinline__ void multiply(const LinearArgs& a) {
  unsigned lane = threadIdx.x & 31, row = blockIdx.x * 8 + (threadIdx.x >> 5);
  unsigned first = blockIdx.y * TOKENS;
  if (row >= a.rows) return;
  const uint8_t* weight = a.weight + (size_t)row * a.row_bytes;
  const float* x = a.x + (size_t)first * a.cols;
  unsigned count = a.tokens - first < TOKENS ? a.tokens - first : TOKENS;
  float sums[TOKENS];
#pragma unroll
  for (int t = 0; t < TOKENS; t++) sums[t] = 0.f;
  unsigned whole = a.cols & ~7u;
  for (unsigned col = lane * 8; col < whole; col += 256) {
    float w[8];
    Format::load8(weight, col, w);
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
      if (t >= (int)count) break;
      const float* own = x + (size_t)t * a.cols + col;
#pragma unroll
      for (int i = 0; i < 8; i++) sums[t] = fmaf(w[i], own[i], sums[t]);
    }
  }
  if (Format::LEN == 1 && whole + lane < a.cols) {
    float w = Format::load1(weight, whole + lane);
    for (int t = 0; t < TOKENS; t++)
      if (t < (int)count) sums[t] = fmaf(w, x[(size_t)t * a.cols + whole + lane], sums[t]);
  }
#pragma unroll
  for (int t = 0; t < TOKENS; t++) {
    if (t >= (int)count) break;
    float sum = warp_sum(sums[t]);
    if (lane == 0) {
      if (a.bias) sum += a.bias[row];
      float* y = a.y + (size_t)(first + t) * a.rows + row;
      *y = a.accumulate ? *y + sum : sum;
    }
  }
}

#define OC_LINEAR(suffix, Format)                                                         \
  extern "C" __global__ void __launch_bounds__(256) linear_##suffix(LinearArgs a) {       \
    multiply<Format>(a);                                                                  \
  }                                                                                       \
  OC_KERNEL(linear_##suffix)
OC_FORMATS(OC_LINEAR)

// Normalisation of rows, with the residual stream's addition fused in front.
//
// rms_norm: where there is a delta, hidden += scale * delta; then, where there is a weight,
// out = hidden / sqrt(mean(hidden^2) + eps) * weight (arXiv:1910.07467).
// layer_norm: the same with out = (hidden - mean) / sqrt(variance + eps) * weight + bias
// (arXiv:1607.06450); `bias` may be missing.
//
// Launch: a block of 256 threads a row; a thread takes every 256th element. The row is read twice
// (three times by layer_norm), from L2 after the first time. `out` may be `hidden`.
#include "reduce.cuh"

struct NormArgs {
  float* hidden;
  const float* delta;
  const float* weight;
  const float* bias;
  float* out;
  unsigned width;
  float scale, eps;
};

constexpr int WARPS = 8, THREADS = 32 * WARPS;

__device__ __forceinline__ float* add_delta(const NormArgs& a) {
  float* row = a.hidden + (size_t)blockIdx.x * a.width;
  if (a.delta) {
    const float* delta = a.delta + (size_t)blockIdx.x * a.width;
    for (unsigned i = threadIdx.x; i < a.width; i += THREADS) row[i] += a.scale * delta[i];
  }
  return row;
}

extern "C" __global__ void __launch_bounds__(256) rms_norm(NormArgs a) {
  __shared__ float room[WARPS];
  const float* row = add_delta(a);
  if (!a.weight) return;
  float sum = 0.f;
  for (unsigned i = threadIdx.x; i < a.width; i += THREADS) sum += row[i] * row[i];
  sum = block_sum<WARPS>(sum, room);
  float factor = 1.f / sqrtf(sum / (float)a.width + a.eps);
  float* out = a.out + (size_t)blockIdx.x * a.width;
  for (unsigned i = threadIdx.x; i < a.width; i += THREADS) out[i] = row[i] * factor * a.weight[i];
}
OC_KERNEL(rms_norm)

extern "C" __global__ void __launch_bounds__(256) layer_norm(NormArgs a) {
  __shared__ float room[WARPS];
  const float* row = add_delta(a);
  float sum = 0.f;
  for (unsigned i = threadIdx.x; i < a.width; i += THREADS) sum += row[i];
  float mean = block_sum<WARPS>(sum, room) / (float)a.width;
  sum = 0.f;
  for (unsigned i = threadIdx.x; i < a.width; i += THREADS) {
    float off = row[i] - mean;
    sum += off * off;
  }
  float factor = 1.f / sqrtf(block_sum<WARPS>(sum, room) / (float)a.width + a.eps);
  float* out = a.out + (size_t)blockIdx.x * a.width;
  for (unsigned i = threadIdx.x; i < a.width; i += THREADS) {
    float value = (row[i] - mean) * factor * a.weight[i];
    out[i] = a.bias ? value + a.bias[i] : value;
  }
}
OC_KERNEL(layer_norm)

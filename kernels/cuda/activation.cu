// What a gated MLP does between its projections, and what is done to logits.
//
// gated: gate = f(gate) * up, by `kind`: 0 silu, 1 gelu with the error function, 2 gelu by tanh,
// 3 clamped swiglu g * sigmoid(alpha g) * (u + 1) with g at most and u within `limit`. Without an
// `up` it is f(gate) alone; kind 4 is tanh.
// finish_logits: x = cap * tanh(x * scale / cap); without a cap x * scale.
//
// Launch: a thread an element, blocks of 256. Each element is read and written once.
#include "ptx.cuh"

struct GatedArgs {
  float* gate;
  const float* up;
  uint64_t count;
  unsigned kind;
  float alpha, limit;
};

__device__ __forceinline__ float activate(unsigned kind, float g) {
  switch (kind) {
    case 0: return g / (1.f + expf(-g));
    case 1: return 0.5f * g * (1.f + erff(g * 0.70710678118654752f));
    case 2: return 0.5f * g * (1.f + tanhf(0.79788456080286536f * (g + 0.044715f * g * g * g)));
    default: return tanhf(g);
  }
}

extern "C" __global__ void __launch_bounds__(256) gated(GatedArgs a) {
  uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= a.count) return;
  float g = a.gate[i];
  if (a.kind == 3) {
    g = fminf(g, a.limit);
    float u = fminf(fmaxf(a.up[i], -a.limit), a.limit);
    a.gate[i] = g / (1.f + expf(-a.alpha * g)) * (u + 1.f);
  } else {
    float value = activate(a.kind, g);
    a.gate[i] = a.up ? value * a.up[i] : value;
  }
}
OC_KERNEL(gated)

struct FinishArgs {
  float* x;
  uint64_t count;
  float scale, cap;
};

extern "C" __global__ void __launch_bounds__(256) finish_logits(FinishArgs a) {
  uint64_t i = (uint64_t)blockIdx.x * 256 + threadIdx.x;
  if (i >= a.count) return;
  float x = a.x[i] * a.scale;
  a.x[i] = a.cap > 0.f ? a.cap * tanhf(x / a.cap) : x;
}
OC_KERNEL(finish_logits)

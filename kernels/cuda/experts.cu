// A mixture of experts: each row goes through the few experts that a router scores best.
//
// route: the `chosen` best of a row's scores, of equal ones the lower expert, with their weights: the
// softmax over all experts, or over the chosen ones where `of_chosen`. They are given in the order of
// the experts, so that sums over them have one order. Launch: a warp a row; the scores are read
// `chosen` times, from L1.
//
// expert_linear: y[p] = x[source(p)] . w[expert(p)] + bias, for the pairs p of a row and one of its
// experts. Launch: 8 warps for 8 rows of the expert's weights (x) and a pair (y); as linear.cu, each
// output by one warp.
//
// add_experts: out[row] = sum over its experts, in their order, of weight * y. A thread an element.
#include "formats.cuh"
#include "reduce.cuh"

struct RouteArgs {
  const float* scores;
  unsigned* experts;
  float* weights;
  unsigned rows, count, chosen, of_chosen;
};

constexpr unsigned MOST_CHOSEN = 32;

extern "C" __global__ void __launch_bounds__(32) route(RouteArgs a) {
  __shared__ float picked[MOST_CHOSEN];
  __shared__ unsigned numbers[MOST_CHOSEN];
  unsigned row = blockIdx.x, lane = threadIdx.x;
  const float* scores = a.scores + (size_t)row * a.count;
  float last = INFINITY;
  unsigned last_number = 0;
  for (unsigned n = 0; n < a.chosen; n++) {
    // The best behind the last one taken: of a lower score, or of the same and a higher number.
    float best = -INFINITY;
    unsigned number = 0xffffffffu;
    for (unsigned e = lane; e < a.count; e += 32) {
      float s = scores[e];
      bool is_left = n == 0 || s < last || (s == last && e > last_number);
      if (is_left && (s > best || (s == best && e < number))) {
        best = s;
        number = e;
      }
    }
    for (int d = 16; d; d >>= 1) {
      float other = __shfl_xor_sync(0xffffffffu, best, d);
      unsigned other_number = __shfl_xor_sync(0xffffffffu, number, d);
      if (other > best || (other == best && other_number < number)) {
        best = other;
        number = other_number;
      }
    }
    last = best;
    last_number = number;
    if (lane == 0) {
      picked[n] = best;
      numbers[n] = number;
    }
  }
  __syncwarp();
  float top = picked[0], sum = 0.f;
  if (a.of_chosen) {
    for (unsigned n = 0; n < a.chosen; n++) sum += expf(picked[n] - top);
  } else {
    for (unsigned e = lane; e < a.count; e += 32) sum += expf(scores[e] - top);
    sum = warp_sum(sum);
  }
  if (lane < a.chosen) {
    unsigned place = 0;
    for (unsigned n = 0; n < a.chosen; n++) place += numbers[n] < numbers[lane];
    a.experts[row * a.chosen + place] = numbers[lane];
    a.weights[row * a.chosen + place] = expf(picked[lane] - top) / sum;
  }
}
OC_KERNEL(route)

struct ExpertLinearArgs {
  const uint64_t* matrices;  // addresses of the experts' weights
  const uint64_t* biases;    // of their biases, or null
  const unsigned* experts;   // of each pair
  const float* x;
  float* y;
  uint64_t row_bytes;
  unsigned rows, cols, pairs, pairs_per_row;  // x has a row for each `pairs_per_row` pairs
};

template <class Format>
__device__ __forceinline__ void multiply(const ExpertLinearArgs& a) {
  unsigned lane = threadIdx.x & 31, row = blockIdx.x * 8 + (threadIdx.x >> 5), pair = blockIdx.y;
  if (row >= a.rows) return;
  unsigned expert = a.experts[pair];
  const uint8_t* weight = (const uint8_t*)a.matrices[expert] + (size_t)row * a.row_bytes;
  const float* x = a.x + (size_t)(pair / a.pairs_per_row) * a.cols;
  float sum = 0.f;
  unsigned whole = a.cols & ~7u;
  for (unsigned col = lane * 8; col < whole; col += 256) {
    float w[8];
    Format::load8(weight, col, w);
#pragma unroll
    for (int i = 0; i < 8; i++) sum = fmaf(w[i], x[col + i], sum);
  }
  if (Format::LEN == 1 && whole + lane < a.cols)
    sum = fmaf(Format::load1(weight, whole + lane), x[whole + lane], sum);
  sum = warp_sum(sum);
  if (lane == 0) {
    if (a.biases) sum += ((const float*)a.biases[expert])[row];
    a.y[(size_t)pair * a.rows + row] = sum;
  }
}

#define OC_EXPERT_LINEAR(suffix, Format)                                                            \
  extern "C" __global__ void __launch_bounds__(256) expert_linear_##suffix(ExpertLinearArgs a) {    \
    multiply<Format>(a);                                                                            \
  }                                                                                                 \
  OC_KERNEL(expert_linear_##suffix)
OC_FORMATS(OC_EXPERT_LINEAR)

struct AddExpertsArgs {
  const float* y;
  const float* weights;
  float* out;
  unsigned rows, width, chosen;
};

extern "C" __global__ void __launch_bounds__(256) add_experts(AddExpertsArgs a) {
  unsigned col = blockIdx.x * 256 + threadIdx.x, row = blockIdx.y;
  if (col >= a.width) return;
  float sum = 0.f;
  for (unsigned n = 0; n < a.chosen; n++) {
    size_t pair = (size_t)row * a.chosen + n;
    sum = fmaf(a.weights[pair], a.y[pair * a.width + col], sum);
  }
  a.out[(size_t)row * a.width + col] = sum;
}
OC_KERNEL(add_experts)

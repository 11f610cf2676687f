// Rotary position embedding (arXiv:2104.09864): turns the pairs of each head by position *
// frequency, in place.
//
// Frequencies are one a pair for each sequence, as the sequence's length decides them; a row knows
// its sequence and its position. Pairs are (i, i + pairs), or (2 i, 2 i + 1) where `interleaved`.
//
// Launch: a thread a pair, blocks of 128 along (heads * pairs), a row in y. Reads and writes each
// turned element once; sine and cosine are computed anew in each head, which is cheaper than to
// read them.
#include "ptx.cuh"

struct RotaryArgs {
  float* x;
  const float* frequencies;
  const unsigned* sequences;
  const unsigned* positions;
  unsigned heads, head_dim, pairs, interleaved;
  float factor;
};

extern "C" __global__ void __launch_bounds__(128) rotary(RotaryArgs a) {
  unsigned at = blockIdx.x * 128 + threadIdx.x, row = blockIdx.y;
  if (at >= a.heads * a.pairs) return;
  unsigned head = at / a.pairs, pair = at % a.pairs;
  float angle = (float)a.positions[row] * a.frequencies[a.sequences[row] * a.pairs + pair];
  float sine = sinf(angle) * a.factor, cosine = cosf(angle) * a.factor;
  float* x = a.x + ((size_t)row * a.heads + head) * a.head_dim;
  unsigned first = a.interleaved ? 2 * pair : pair, second = a.interleaved ? first + 1 : pair + a.pairs;
  float u = x[first], v = x[second];
  x[first] = u * cosine - v * sine;
  x[second] = v * cosine + u * sine;
}
OC_KERNEL(rotary)

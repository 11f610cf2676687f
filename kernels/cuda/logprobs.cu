// Tells the log-probabilities of chosen tokens, and of the most likely ones, by the softmax of the logits
// as they are: without penalty, mask or temperature.
//
// The sum of the exponentials is one of integers (2^-40), so that it does not depend on the order of the
// threads; its logarithm is taken in double precision. The most likely tokens are found one after the other:
// each thread keeps the first of its own tokens, the block takes the first of these, and only the thread that
// it was looks for its next. Where a logit is NaN, or none is finite, the log-probability is NaN.
//
// Launch: a block of 1024 threads a row, 0.6 kB of shared memory. Rows that ask for nothing end at once. A row's
// logits are read twice, and one part in 1024 of them once more for each of the most likely.
#include "sample.cuh"

constexpr unsigned MOST_LOGPROBS = 20;

// The chosen token's, then ids and log-probabilities of the most likely.
struct LogprobRow {
  float chosen;
  unsigned ids[MOST_LOGPROBS];
  float logprobs[MOST_LOGPROBS];
};

struct LogprobArgs {
  const float* logits;  // (logit_rows, vocabulary)
  const SampleRow* rows;
  const int* tokens;  // the chosen ones
  LogprobRow* out;
  unsigned vocabulary, logit_rows;
};

namespace {
struct Shared {
  BestRoom best;
  unsigned long long scan[32];
  double total;
};

// The first of this thread's tokens that comes behind `last`.
__device__ __forceinline__ Best next_own(const float* logits, unsigned count, Best last) {
  Best best = {-INFINITY, 0xffffffffu};
  for (unsigned i = threadIdx.x; i < count; i += THREADS) {
    Best own = {logits[i], i};
    if (comes_before(last, own) && comes_before(own, best)) best = own;
  }
  return best;
}
}  // namespace

extern "C" __global__ void __launch_bounds__(1024, 1) logprobs(LogprobArgs a) {
  __shared__ Shared s;
  SampleRow p = a.rows[blockIdx.x];
  if (p.logprobs == 0 || p.row >= a.logit_rows) return;
  unsigned count = a.vocabulary;
  const float* logits = a.logits + (size_t)p.row * count;
  LogprobRow* out = a.out + blockIdx.x;
  Best own = {-INFINITY, 0xffffffffu};
  bool is_nan = false;
  for (unsigned i = threadIdx.x; i < count; i += THREADS) {
    Best x = {logits[i], i};
    is_nan |= x.x != x.x;
    if (comes_before(x, own)) own = x;
  }
  is_nan = __syncthreads_or(is_nan);
  Best best = block_best(own, s.best);
  int token = a.tokens[blockIdx.x];
  if (is_nan || !(fabsf(best.x) < INFINITY) || token < 0 || (unsigned)token >= count) {
    if (threadIdx.x == 0) out->chosen = __uint_as_float(0x7fc00000u);
    return;
  }
  unsigned long long part = 0, sum;
  for (unsigned i = threadIdx.x; i < count; i += THREADS)
    part += (unsigned long long)(expf(logits[i] - best.x) * UNIT);
  scan_before(part, s.scan, sum);
  if (threadIdx.x == 0) {
    s.total = (double)best.x + log((double)sum / (double)UNIT);
    out->chosen = (float)((double)logits[token] - s.total);
  }
  unsigned wanted = p.logprobs - 1 < MOST_LOGPROBS ? p.logprobs - 1 : MOST_LOGPROBS;
  for (unsigned n = 0; n < wanted; n++) {
    // Also the barrier behind the last look at the room.
    __syncthreads();
    best = block_best(own, s.best);
    if (threadIdx.x == 0) {
      out->ids[n] = best.id;
      out->logprobs[n] = (float)((double)best.x - s.total);
    }
    if (best.id == own.id) own = next_own(logits, count, best);
  }
}
OC_KERNEL(logprobs)

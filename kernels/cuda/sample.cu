// Chooses a token a row: penalty, mask, temperature, top_k, top_p, min_p and the draw, without sorting.
//
// The token is the one that the sampler on the CPU chooses: weights are exp((x - max) / temperature);
// top_k keeps the heaviest, of equal ones the lower ids; top_p the smallest heaviest part of these
// that reaches its share; min_p those of at least that weight. A point in [0, 1), which the host makes
// of seed and position, is looked up in the running sum of what is left: heaviest first where top_k or
// top_p was asked for, by id else. Each of these is one question, "at which weight does the running sum,
// heaviest first, pass t?", of numbers of tokens or of weights in fixed point (2^-40), and is answered
// by three passes over histograms of 11, 11 and 10 bits of the weights. All sums are of integers: no
// order of threads changes the token.
//
// A row whose token is given, because a form leaves no choice, takes it. Where a logit is NaN, or none is
// finite, or a row's places lie outside its buffers, the token is -1.
//
// Launch: a block of 1024 threads a row, 17 kB of shared memory. Logits are read once; the weights,
// 4 bytes a token, are written once and read three times a question, from L2.
#include "sample.cuh"

struct SampleArgs {
  const float* logits;      // (logit_rows, vocabulary)
  unsigned* work;           // (rows, vocabulary)
  const unsigned* words;    // what the rows' places count in
  const SampleRow* rows;
  int* tokens;
  unsigned vocabulary, logit_rows, word_count;
};

namespace {
constexpr unsigned BINS = 2048;

struct Shared {
  unsigned long long histogram[BINS];
  unsigned long long scan[32];
  unsigned long long above;
  BestRoom best;
  unsigned chosen;
};

__device__ __forceinline__ unsigned long long mass(unsigned key) {
  return (unsigned long long)(__uint_as_float(key) * UNIT);
}

// A token by the bits of its weight: positive floats are ordered as their bits are. What is left are the
// tokens above `key`, and the first `ties` of those of `key` itself; `above` is the mass of the former.
struct Cut {
  unsigned key;
  unsigned long long ties, above;
};

// The key at which the running sum, heaviest first, passes `target`, and the sum above it.
template <bool COUNTS>
__device__ __forceinline__ unsigned find(const unsigned* keys, unsigned count, unsigned long long target, Shared& s,
                                         unsigned long long& above) {
  unsigned prefix = 0, shift = 32;
  above = 0;
  for (int pass = 0; pass < 3; pass++) {
    unsigned bits = pass < 2 ? 11 : 10;
    unsigned high = pass == 0 ? 0u : ~0u << shift;
    shift -= bits;
    for (unsigned i = threadIdx.x; i < BINS; i += THREADS) s.histogram[i] = 0;
    __syncthreads();
    for (unsigned i = threadIdx.x; i < count; i += THREADS) {
      unsigned key = keys[i];
      if (key && (key & high) == prefix)
        atomicAdd(&s.histogram[key >> shift & ((1u << bits) - 1)], COUNTS ? 1ull : mass(key));
    }
    __syncthreads();
    // From the top: a thread has two bins.
    unsigned first = BINS - 1 - 2 * threadIdx.x;
    unsigned long long upper = s.histogram[first], lower = s.histogram[first - 1], total;
    unsigned long long before = above + scan_before(upper + lower, s.scan, total);
    if (before <= target && target < before + upper + lower) {
      bool is_upper = target < before + upper;
      s.chosen = is_upper ? first : first - 1;
      s.above = is_upper ? before : before + upper;
    }
    __syncthreads();
    prefix |= s.chosen << shift;
    above = s.above;
    __syncthreads();
  }
  return prefix;
}

// The number of tokens above `key`'s mass alone, and of its own.
__device__ __forceinline__ unsigned long long sum_above(const unsigned* keys, unsigned count, unsigned key, Shared& s) {
  unsigned long long part = 0, total;
  for (unsigned i = threadIdx.x; i < count; i += THREADS)
    if (keys[i] > key) part += mass(keys[i]);
  scan_before(part, s.scan, total);
  return total;
}

// The id of the `number`th token of `key`.
__device__ __forceinline__ int tie(const unsigned* keys, unsigned count, unsigned key, unsigned long long number, Shared& s) {
  unsigned per = (count + THREADS - 1) / THREADS, first = threadIdx.x * per;
  unsigned end = first + per < count ? first + per : count;
  unsigned long long own = 0, total;
  for (unsigned i = first; i < end; i++) own += keys[i] == key;
  unsigned long long before = scan_before(own, s.scan, total);
  if (before <= number && number < before + own)
    for (unsigned i = first; i < end; i++)
      if (keys[i] == key && before++ == number) s.chosen = i;
  __syncthreads();
  return (int)s.chosen;
}

// The token in whose part of the running sum by ids `target` lies, of those of at least `least`.
__device__ __forceinline__ int by_id(const unsigned* keys, unsigned count, unsigned least, double point, Shared& s) {
  unsigned per = (count + THREADS - 1) / THREADS, first = threadIdx.x * per;
  unsigned end = first + per < count ? first + per : count;
  unsigned long long own = 0, total;
  for (unsigned i = first; i < end; i++)
    if (keys[i] >= least) own += mass(keys[i]);
  unsigned long long before = scan_before(own, s.scan, total);
  unsigned long long target = (unsigned long long)(point * (double)total);
  if (target >= total) target = total - 1;
  if (before <= target && target < before + own)
    for (unsigned i = first; i < end; i++)
      if (keys[i] >= least) {
        unsigned long long sum = before + mass(keys[i]);
        if (before <= target && target < sum) s.chosen = i;
        before = sum;
      }
  __syncthreads();
  return (int)s.chosen;
}
// Whether `count` words from `first` on are words of the buffer.
__device__ __forceinline__ bool holds(const SampleArgs& a, unsigned first, unsigned count) {
  return first <= a.word_count && count <= a.word_count - first;
}
}  // namespace

extern "C" __global__ void __launch_bounds__(1024, 1) sample(SampleArgs a) {
  __shared__ Shared s;
  unsigned row = blockIdx.x, count = a.vocabulary, mask_words = (count + 31) / 32;
  SampleRow p = a.rows[row];
  bool is_masked = p.allowed != NO_MASK;
  bool is_out = p.row >= a.logit_rows || !holds(a, p.tokens, p.token_count) ||
                (is_masked && !holds(a, p.allowed, mask_words));
  if (is_out || p.given >= 0) {
    if (threadIdx.x == 0) a.tokens[row] = is_out ? -1 : p.given;
    return;
  }
  const float* logits = a.logits + (size_t)p.row * count;
  unsigned* keys = a.work + (size_t)row * count;
  const unsigned* allowed = is_masked ? a.words + p.allowed : nullptr;
  bool is_nan = false;
  for (unsigned i = threadIdx.x; i < count; i += THREADS) {
    bool is_allowed = !allowed || (allowed[i >> 5] >> (i & 31) & 1);
    is_nan |= is_allowed && logits[i] != logits[i];
    keys[i] = __float_as_uint(is_allowed ? logits[i] : -INFINITY);
  }
  is_nan = __syncthreads_or(is_nan);
  if (p.penalty != 1.f) {
    // From the untouched logits, so that a token that occurred twice is penalised once.
    const unsigned* tokens = a.words + p.tokens;
    for (unsigned i = threadIdx.x; i < p.token_count; i += THREADS) {
      unsigned t = tokens[i];
      if (t >= count || (allowed && !(allowed[t >> 5] >> (t & 31) & 1))) continue;
      float x = logits[t];
      atomicExch(&keys[t], __float_as_uint(x < 0.f ? x * p.penalty : x / p.penalty));
    }
    __syncthreads();
  }
  Best best = {-INFINITY, 0xffffffffu};
  for (unsigned i = threadIdx.x; i < count; i += THREADS) {
    Best x = {__uint_as_float(keys[i]), i};
    if (x.x > best.x) best = x;
  }
  best = block_best(best, s.best);
  float top = best.x;
  bool is_wrong = is_nan || !(fabsf(top) < INFINITY);
  if (is_wrong || p.temperature == 0.f) {
    if (threadIdx.x == 0) a.tokens[row] = is_wrong ? -1 : (int)best.id;
    return;
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < count; i += THREADS)
    keys[i] = __float_as_uint(expf((__uint_as_float(keys[i]) - top) / p.temperature));
  __syncthreads();
  unsigned least = __float_as_uint(p.min_p);
  bool has_k = p.top_k != 0, has_p = p.top_p < 1.f;
  int token;
  if (!has_k && !has_p) {
    token = by_id(keys, count, least > 1 ? least : 1, p.point, s);
  } else {
    Cut cut = {0, 0, sum_above(keys, count, 0, s)};
    if (has_k) {
      unsigned long long tokens = 0, before;
      for (unsigned i = threadIdx.x; i < count; i += THREADS) tokens += keys[i] != 0;
      scan_before(tokens, s.scan, before);
      if (p.top_k < before) {
        cut.key = find<true>(keys, count, p.top_k - 1, s, before);
        cut.ties = p.top_k - before;
        cut.above = sum_above(keys, count, cut.key, s);
      }
    }
    if (has_p) {
      unsigned long long all = cut.above + cut.ties * mass(cut.key);
      unsigned long long wanted = (unsigned long long)ceil((double)all * (double)p.top_p);
      wanted = wanted < 1 ? 1 : wanted > all ? all : wanted;
      unsigned long long above;
      unsigned key = find<false>(keys, count, wanted - 1, s, above), limit_key = cut.key;
      unsigned long long each = mass(key), ties = each ? (wanted - above + each - 1) / each : 0;
      if (key == limit_key && ties > cut.ties) ties = cut.ties;
      cut = {key, ties, above};
    }
    if (least > cut.key) cut = {least - 1, 0, sum_above(keys, count, least - 1, s)};
    unsigned long long all = cut.above + cut.ties * mass(cut.key), above;
    unsigned long long target = (unsigned long long)(p.point * (double)all);
    if (target >= all) target = all - 1;
    unsigned key = find<false>(keys, count, target, s, above);
    unsigned long long each = mass(key);
    token = tie(keys, count, key, each ? (target - above) / each : 0, s);
  }
  if (threadIdx.x == 0) a.tokens[row] = token;
}
OC_KERNEL(sample)

// Exact nearest neighbours: the k best rows of a matrix for each query, without writing the scores.
//
// A score is the dot product, the cosine, or minus the squared distance; larger is better, and of
// equal ones the lower id. A score and an id are one 64-bit key, so that the order is total and the
// result the same whatever the slices and the order of blocks. Rows that a bit mask leaves out do not
// take part. Rows may come in parts: `search` begins with the keys that earlier parts left.
//
// search: launch of a block of 8 warps for each slice of the rows (x) and query (y), with 4 kB and the
// query in shared memory. A warp computes a row, 8 elements a lane at a time; scores above the block's
// k-th enter a queue of 256, which is sorted into the best 256 when it is full. Rows are read once a
// query. join: one block a query sorts the slices' keys into the k best.
#include "formats.cuh"
#include "reduce.cuh"

struct SearchArgs {
  const uint8_t* rows;
  const float* scales;     // one a row, for signed bytes
  const float* queries;    // (queries, dims)
  const unsigned* mask;    // a bit a row, or null
  unsigned long long* keys;  // (queries, slices, k): in and out
  uint64_t count, row_bytes, slice, first_id;
  unsigned dims, k, metric, padding;
};

struct JoinArgs {
  const unsigned long long* keys;  // (queries, lists, k)
  float* scores;                   // (queries, k)
  unsigned* ids;
  unsigned lists, k;
};

namespace {
constexpr unsigned SEARCH_WARPS = 8, QUEUE = 256, ROOM = 2 * QUEUE;

// Larger scores are larger words.
__device__ __forceinline__ unsigned ordered(float x) {
  unsigned u = __float_as_uint(x);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
__device__ __forceinline__ float of_ordered(unsigned u) {
  return __uint_as_float(u & 0x80000000u ? u & 0x7fffffffu : ~u);
}

// Sorts the block's 512 keys, the largest first; 256 threads.
__device__ __forceinline__ void sort(unsigned long long* keys) {
  for (unsigned size = 2; size <= ROOM; size <<= 1) {
    for (unsigned step = size >> 1; step; step >>= 1) {
      __syncthreads();
      unsigned i = threadIdx.x / step * 2 * step + threadIdx.x % step, j = i + step;
      bool descends = (i & size) == 0;
      unsigned long long x = keys[i], y = keys[j];
      if ((x < y) == descends) {
        keys[i] = y;
        keys[j] = x;
      }
    }
  }
  __syncthreads();
}

struct I8 {
  __device__ __forceinline__ static void load8(const uint8_t* row, unsigned col, float (&out)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = (float)((const int8_t*)row)[col + i];
  }
  __device__ __forceinline__ static float load1(const uint8_t* row, unsigned col) {
    return (float)((const int8_t*)row)[col];
  }
};

template <class Format>
__device__ __forceinline__ float score(const SearchArgs& a, const float* query, float query_norm, uint64_t number) {
  const uint8_t* row = a.rows + number * a.row_bytes;
  unsigned lane = threadIdx.x & 31, whole = a.dims & ~7u;
  float dot = 0.f, square = 0.f;
  for (unsigned col = lane * 8; col < whole; col += 256) {
    float v[8];
    Format::load8(row, col, v);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      dot = fmaf(v[i], query[col + i], dot);
      square = fmaf(v[i], v[i], square);
    }
  }
  if (whole + lane < a.dims) {
    float v = Format::load1(row, whole + lane);
    dot = fmaf(v, query[whole + lane], dot);
    square = fmaf(v, v, square);
  }
  dot = warp_sum(dot);
  if (a.metric == 0) return a.scales ? dot * a.scales[number] : dot;
  square = warp_sum(square);
  float scale = a.scales ? a.scales[number] : 1.f;
  if (a.metric == 1) {
    float norms = sqrtf(square) * sqrtf(query_norm);
    return norms > 0.f ? dot / norms : 0.f;
  }
  return -(scale * scale * square - 2.f * scale * dot + query_norm);
}

template <class Format>
__device__ __forceinline__ void find_best(const SearchArgs& a) {
  OC_DYN_SMEM(dynamic);
  __shared__ unsigned long long keys[ROOM];
  __shared__ unsigned queued;
  __shared__ float room[SEARCH_WARPS];
  float* query = (float*)dynamic;
  unsigned warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  unsigned long long* own = a.keys + ((size_t)blockIdx.y * gridDim.x + blockIdx.x) * a.k;
  float square = 0.f;
  for (unsigned i = threadIdx.x; i < a.dims; i += QUEUE) {
    float v = a.queries[(size_t)blockIdx.y * a.dims + i];
    query[i] = v;
    square = fmaf(v, v, square);
  }
  float norm = block_sum<SEARCH_WARPS>(square, room);
  keys[threadIdx.x] = threadIdx.x < a.k ? own[threadIdx.x] : 0ull;
  keys[QUEUE + threadIdx.x] = 0ull;
  if (threadIdx.x == 0) queued = 0;
  __syncthreads();
  uint64_t first = blockIdx.x * a.slice, end = first + a.slice < a.count ? first + a.slice : a.count;
  // All warps go through the same number of rounds, of 32 rows each, so that they meet at the sort.
  for (uint64_t start = first; start < end; start += QUEUE) {
    unsigned long long least = keys[a.k - 1];
    __syncthreads();
    for (unsigned i = 0; i < 32; i++) {
      uint64_t number = start + warp * 32 + i;
      if (number >= end) break;
      uint64_t id = a.first_id + number;
      if (a.mask && !(a.mask[number >> 5] >> (number & 31) & 1)) continue;
      float value = score<Format>(a, query, norm, number);
      unsigned long long key = (unsigned long long)ordered(value) << 32 | (0xffffffffull - id);
      if (lane == 0 && value == value && key > least) keys[QUEUE + atomicAdd(&queued, 1u)] = key;
    }
    __syncthreads();
    bool is_last = start + QUEUE >= end;
    if (queued) {
      sort(keys);
      keys[QUEUE + threadIdx.x] = 0ull;
      if (threadIdx.x == 0) queued = 0;
      __syncthreads();
    }
    if (is_last) break;
  }
  if (threadIdx.x < a.k) own[threadIdx.x] = keys[threadIdx.x];
}
}  // namespace

#define OC_SEARCH(suffix, Format)                                                       \
  extern "C" __global__ void __launch_bounds__(256) search_##suffix(SearchArgs a) {     \
    find_best<Format>(a);                                                               \
  }                                                                                     \
  OC_KERNEL(search_##suffix)
OC_SEARCH(f32, formats::F32)
OC_SEARCH(f16, formats::F16)
OC_SEARCH(bf16, formats::BF16)
OC_SEARCH(i8, I8)

extern "C" __global__ void __launch_bounds__(256) search_join(JoinArgs a) {
  __shared__ unsigned long long keys[ROOM];
  const unsigned long long* lists = a.keys + (size_t)blockIdx.x * a.lists * a.k;
  unsigned count = a.lists * a.k;
  keys[threadIdx.x] = 0ull;
  for (unsigned start = 0; start < count; start += QUEUE) {
    keys[QUEUE + threadIdx.x] = start + threadIdx.x < count ? lists[start + threadIdx.x] : 0ull;
    sort(keys);
  }
  if (threadIdx.x < a.k) {
    unsigned long long key = keys[threadIdx.x];
    size_t at = (size_t)blockIdx.x * a.k + threadIdx.x;
    a.scores[at] = key ? of_ordered((unsigned)(key >> 32)) : -INFINITY;
    a.ids[at] = key ? 0xffffffffu - (unsigned)key : 0xffffffffu;
  }
}
OC_KERNEL(search_join)

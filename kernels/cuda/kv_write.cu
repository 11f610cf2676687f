// Writes keys and values of a step's rows to their places in the paged cache, rounded to how it
// stores them.
//
// Launch: blocks of 256 along (kv_heads * head_dim), a row in y. Reads each element once and writes
// it once; neighbouring threads write neighbouring elements.
#include "kv_pages.cuh"

struct KvWriteArgs {
  KvPool pool;
  const float* keys;
  const float* values;
};

template <class Store>
__device__ __forceinline__ void write(const KvWriteArgs& a) {
  unsigned at = blockIdx.x * 256 + threadIdx.x, row = blockIdx.y;
  unsigned width = a.pool.kv_heads * a.pool.head_dim;
  if (at >= width) return;
  unsigned position = a.pool.positions[row];
  unsigned page = a.pool.pages[a.pool.starts[a.pool.sequences[row]] + position / a.pool.page_tokens];
  uint8_t* keys = a.pool.bytes + page * a.pool.page_bytes + a.pool.layer_at;
  unsigned to = position % a.pool.page_tokens * width + at;
  Store::store(keys, to, a.keys[(size_t)row * width + at]);
  Store::store(keys + a.pool.half_bytes, to, a.values[(size_t)row * width + at]);
}

#define OC_KV_WRITE(suffix, Store)                                                        \
  extern "C" __global__ void __launch_bounds__(256) kv_write_##suffix(KvWriteArgs a) {    \
    write<Store>(a);                                                                      \
  }                                                                                       \
  OC_KERNEL(kv_write_##suffix)
OC_KV_FORMATS(OC_KV_WRITE)

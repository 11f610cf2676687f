// Kernels with one fault each, that the stand-in must report by kernel and line, and their sound
// twins, of which it must report nothing. Lines with a fault are marked `FAULT`.
#include "ptx.cuh"

// Sums a block's values: the barrier between writing and reading is missing.
extern "C" __global__ void missing_barrier(const float* in, float* out) {
  __shared__ float all[64];
  all[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = all[63 - threadIdx.x];  // FAULT
}
OC_KERNEL(missing_barrier)

extern "C" __global__ void with_barrier(const float* in, float* out) {
  __shared__ float all[64];
  all[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = all[63 - threadIdx.x];
}
OC_KERNEL(with_barrier)

// The second round overwrites what others still read: a barrier at the round's end is missing.
extern "C" __global__ void missing_barrier_of_rounds(const float* in, float* out) {
  OC_DYN_SMEM(bytes);
  float* all = reinterpret_cast<float*>(bytes);
  float sum = 0.0f;
  for (int round = 0; round < 2; round++) {
    all[threadIdx.x] = in[threadIdx.x] + round;  // FAULT
    __syncthreads();
    sum += all[63 - threadIdx.x];
  }
  out[threadIdx.x] = sum;
}
OC_KERNEL(missing_barrier_of_rounds)

// Lanes exchange through shared memory: __syncwarp is missing. A shuffle orders no memory.
extern "C" __global__ void missing_warp_barrier(float* out) {
  __shared__ float all[32];
  all[threadIdx.x] = threadIdx.x;
  float mine = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
  out[threadIdx.x] = mine + all[threadIdx.x ^ 1];  // FAULT
}
OC_KERNEL(missing_warp_barrier)

extern "C" __global__ void with_warp_barrier(float* out) {
  __shared__ float all[32];
  all[threadIdx.x] = threadIdx.x;
  __syncwarp();
  out[threadIdx.x] = all[threadIdx.x ^ 1];
}
OC_KERNEL(with_warp_barrier)

// All blocks add to one number without an atomic.
extern "C" __global__ void race_between_blocks(float* out) {
  if (threadIdx.x == 0) out[0] = out[0] + 1.0f;  // FAULT
}
OC_KERNEL(race_between_blocks)

extern "C" __global__ void atomic_between_blocks(float* out) { atomicAdd(out, 1.0f); }
OC_KERNEL(atomic_between_blocks)

// The block that comes last sums what all wrote. `FENCED` says whether a fence goes before.
template <bool FENCED>
__device__ void last_block(float* partial, unsigned* ticket, float* out) {
  if (threadIdx.x != 0) return;
  partial[blockIdx.x] = blockIdx.x + 1.0f;
  if (FENCED) __threadfence();
  if (atomicAdd(ticket, 1u) != gridDim.x - 1) return;
  __threadfence();
  float sum = 0.0f;
  for (unsigned i = 0; i < gridDim.x; i++) sum += partial[i];  // FAULT
  out[0] = sum;
}
extern "C" __global__ void ticket_without_fence(float* partial, unsigned* ticket, float* out) {
  last_block<false>(partial, ticket, out);
}
OC_KERNEL(ticket_without_fence)
extern "C" __global__ void ticket_with_fence(float* partial, unsigned* ticket, float* out) {
  last_block<true>(partial, ticket, out);
}
OC_KERNEL(ticket_with_fence)

// Half a warp votes, the other half shuffles.
extern "C" __global__ void divergent_collective(unsigned* out) {
  if (threadIdx.x < 16)
    out[threadIdx.x] = __ballot_sync(0xffffffffu, 1);
  else
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1u, 0);  // FAULT
}
OC_KERNEL(divergent_collective)

// Half a block waits at one barrier, the other half at another.
extern "C" __global__ void deadlock(unsigned* out) {
  if (threadIdx.x < 32)
    __syncthreads();  // FAULT
  else
    oc_bar_sync(1, 64);
  out[threadIdx.x] = 1;
}
OC_KERNEL(deadlock)

extern "C" __global__ void out_of_bounds(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x + 1];  // FAULT
}
OC_KERNEL(out_of_bounds)

extern "C" __global__ void out_of_shared_bounds(float* out) {
  OC_DYN_SMEM(bytes);
  reinterpret_cast<float*>(bytes)[threadIdx.x + 1] = 1.0f;  // FAULT
  out[threadIdx.x] = 1.0f;
}
OC_KERNEL(out_of_shared_bounds)

extern "C" __global__ void misaligned(const float* in, float* out) {
  float2 pair = *reinterpret_cast<const float2*>(in + 1);  // FAULT
  out[threadIdx.x] = pair.x + pair.y;
}
OC_KERNEL(misaligned)

extern "C" __global__ void uninitialised_shared(float* out) {
  __shared__ float all[64];
  if (threadIdx.x != 7) all[threadIdx.x] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = all[threadIdx.x];  // FAULT
}
OC_KERNEL(uninitialised_shared)

// Adds to memory that the host allocated and never filled.
extern "C" __global__ void uninitialised_device(float* out) {
  out[threadIdx.x] += 1.0f;  // FAULT
}
OC_KERNEL(uninitialised_device)

// Reads what cp.async is still bringing.
template <bool WAITS>
__device__ void copy(const float* in, float* out) {
  OC_DYN_SMEM(bytes);
  float* all = reinterpret_cast<float*>(bytes);
  if (threadIdx.x < 16) oc_cp_async16(oc_smem_u32(all + threadIdx.x * 4), in + threadIdx.x * 4);
  oc_cp_async_commit();
  if (WAITS) oc_cp_async_wait<0>();
  __syncthreads();
  out[threadIdx.x] = all[63 - threadIdx.x];  // FAULT
}
extern "C" __global__ void missing_copy_wait(const float* in, float* out) { copy<false>(in, out); }
OC_KERNEL(missing_copy_wait)
extern "C" __global__ void with_copy_wait(const float* in, float* out) { copy<true>(in, out); }
OC_KERNEL(with_copy_wait)

// Writes behind the end of its own array, where no memory is out of reach.
extern "C" __global__ void out_of_local_bounds(const float* in, float* out) {
  float own[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  int at = (int)in[4];
  own[at] = 5.0f;  // FAULT
  out[threadIdx.x] = own[0] + own[3];
}
OC_KERNEL(out_of_local_bounds)

extern "C" __global__ void overflow(const float* in, float* out) {
  int large = 2147483600 + (int)in[63];  // FAULT
  out[threadIdx.x] = (float)large;
}
OC_KERNEL(overflow)

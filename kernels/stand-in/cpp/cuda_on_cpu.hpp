// CUDA C++ for a host compiler: the words, types and intrinsics that the kernels use.
//
// Included by kernels/cuda/ptx.cuh where OC_ON_CPU is set. What meets, moves or shares anything is
// a call into the runtime; the rest is plain arithmetic, rounded as the device rounds it.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __cluster_dims__(...)
#define __shared__ static thread_local
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict
#define warpSize 32

// ---- vector types
struct uint3 {
  unsigned x, y, z;
};
#define OC_VECTOR(T, name)                                            \
  struct alignas(2 * sizeof(T)) name##2 {                             \
    T x, y;                                                           \
  };                                                                  \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }          \
  struct alignas(sizeof(T) >= 4 ? 16 : 4 * sizeof(T)) name##4 {       \
    T x, y, z, w;                                                     \
  };                                                                  \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
OC_VECTOR(float, float)
OC_VECTOR(int, int)
OC_VECTOR(unsigned, uint)
OC_VECTOR(signed char, char)
OC_VECTOR(unsigned char, uchar)
OC_VECTOR(short, short)
OC_VECTOR(unsigned short, ushort)

// ---- the runtime, see runtime.hpp
namespace oc {
enum class Shuffle { To, Xor, Down, Up };
enum class Reduce { Add, Min, Max, And, Or, Xor, MinSigned, MaxSigned };
enum class Element { Bf16, F16, S8 };
// Constant within a thread: the compiler may keep them.
uint3 thread_index() __attribute__((const));
uint3 block_index() __attribute__((const));
uint3 block_size() __attribute__((const));
uint3 grid_size() __attribute__((const));
unsigned char* dynamic_shared() __attribute__((const));
void sync_threads(unsigned id, unsigned threads, const char* what, std::source_location l);
int sync_threads_sum(int value, const char* what, std::source_location l);
void sync_warp(uint32_t mask, std::source_location l);
uint64_t shuffle(uint32_t mask, uint64_t bits, Shuffle kind, int argument, int width,
                 std::source_location l);
uint32_t ballot(uint32_t mask, int predicate, std::source_location l);
uint32_t match_any(uint32_t mask, uint64_t value, std::source_location l);
uint32_t reduce(uint32_t mask, uint32_t value, Reduce kind, std::source_location l);
// Checks an atomic access, and has it order blocks.
void atomic_access(void* p, unsigned size, std::source_location l);
void fence();
void copy_async(uint32_t to, const void* from, unsigned size, bool valid, std::source_location l);
void copy_async_commit();
void copy_async_wait(unsigned groups_left);
void load_matrices(uint32_t* out, uint32_t address, bool transposed, std::source_location l);
void multiply(void* c, const uint32_t* a, const uint32_t* b, Element element,
              std::source_location l);
uint32_t shared_address_of(const void* p, std::source_location l);
void mbarrier_init(uint32_t barrier, unsigned arrivals, std::source_location l);
void mbarrier_arrive(uint32_t barrier, unsigned bytes, std::source_location l);
void mbarrier_wait(uint32_t barrier, unsigned parity, std::source_location l);
void tensor_load(uint32_t to, const void* map, uint32_t barrier, const int* coordinates,
                 unsigned rank, std::source_location l);
// One product of a warpgroup: c(64, n) += a * b. `a` are registers, or null: then `a_tile`.
struct GroupProduct {
  float* c;
  unsigned n;
  const uint32_t* a;
  uint64_t a_tile, b_tile;
  bool b_is_transposed, accumulates;
  Element element;
};
void group_multiply(const GroupProduct& product, std::source_location l);
void group_fence();
void group_commit();
void group_wait(unsigned groups_left, std::source_location l);
uint32_t e4m3x2_to_f16(uint16_t pair);
uint8_t f32_to_e4m3(float x);
void register_kernel(const char* name, const char* file, void (*call)(void**),
                     std::vector<size_t> sizes);

template <auto F>
struct Registration;
template <class... A, void (*F)(A...)>
struct Registration<F> {
  template <size_t... I>
  __attribute__((no_sanitize("thread", "undefined"))) static void call_with(void** a, std::index_sequence<I...>) {
    F(*(std::remove_reference_t<A>*)a[I]...);
  }
  __attribute__((no_sanitize("thread", "undefined"))) static void call(void** a) {
    call_with(a, std::index_sequence_for<A...>{});
  }
  Registration(const char* name, const char* file) {
    register_kernel(name, file, &call, {sizeof(A)...});
  }
};
}  // namespace oc
#define OC_KERNEL(name) \
  static const oc::Registration<name> oc_registration_##name(#name, __BASE_FILE__);
#define OC_DYN_SMEM(name) unsigned char* const name = oc::dynamic_shared()

#define threadIdx (oc::thread_index())
#define blockIdx (oc::block_index())
#define blockDim (oc::block_size())
#define gridDim (oc::grid_size())
#define OC_L std::source_location l = std::source_location::current()

// ---- barriers, collectives
inline void __syncthreads(OC_L) { oc::sync_threads(0, 0, "__syncthreads", l); }
inline int __syncthreads_count(int p, OC_L) {
  return oc::sync_threads_sum(!!p, "__syncthreads_count", l);
}
inline int __syncthreads_or(int p, OC_L) {
  return oc::sync_threads_sum(!!p, "__syncthreads_or", l) > 0;
}
inline int __syncthreads_and(int p, OC_L) {
  return oc::sync_threads_sum(!p, "__syncthreads_and", l) == 0;
}
inline void oc_bar_sync(unsigned id, unsigned threads, OC_L) {
  oc::sync_threads(id, threads, "bar.sync", l);
}
inline void __syncwarp(uint32_t mask = ~0u, OC_L) { oc::sync_warp(mask, l); }

template <class T>
inline uint64_t oc_bits(T v) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  if constexpr (sizeof(T) == 8) return __builtin_bit_cast(uint64_t, v);
  else if constexpr (sizeof(T) == 4) return __builtin_bit_cast(uint32_t, v);
  else return __builtin_bit_cast(uint16_t, v);
}
template <class T>
inline T oc_of_bits(uint64_t bits) {
  if constexpr (sizeof(T) == 8) return __builtin_bit_cast(T, bits);
  else if constexpr (sizeof(T) == 4) return __builtin_bit_cast(T, (uint32_t)bits);
  else return __builtin_bit_cast(T, (uint16_t)bits);
}
#define OC_SHUFFLE(name, kind)                                                 \
  template <class T>                                                           \
  inline T name(uint32_t mask, T v, int argument, int width = 32, OC_L) {      \
    return oc_of_bits<T>(oc::shuffle(mask, oc_bits(v), kind, argument, width, l)); \
  }
OC_SHUFFLE(__shfl_sync, oc::Shuffle::To)
OC_SHUFFLE(__shfl_xor_sync, oc::Shuffle::Xor)
OC_SHUFFLE(__shfl_down_sync, oc::Shuffle::Down)
OC_SHUFFLE(__shfl_up_sync, oc::Shuffle::Up)
inline uint32_t __ballot_sync(uint32_t mask, int p, OC_L) { return oc::ballot(mask, p, l); }
inline int __any_sync(uint32_t mask, int p, OC_L) { return oc::ballot(mask, p, l) != 0; }
inline int __all_sync(uint32_t mask, int p, OC_L) { return oc::ballot(mask, !p, l) == 0; }
template <class T>
inline uint32_t __match_any_sync(uint32_t mask, T v, OC_L) {
  return oc::match_any(mask, oc_bits(v), l);
}
template <class T>
inline T __reduce_add_sync(uint32_t mask, T v, OC_L) {
  return (T)oc::reduce(mask, (uint32_t)v, oc::Reduce::Add, l);
}
template <class T>
inline T __reduce_min_sync(uint32_t mask, T v, OC_L) {
  auto kind = std::is_signed_v<T> ? oc::Reduce::MinSigned : oc::Reduce::Min;
  return (T)oc::reduce(mask, (uint32_t)v, kind, l);
}
template <class T>
inline T __reduce_max_sync(uint32_t mask, T v, OC_L) {
  auto kind = std::is_signed_v<T> ? oc::Reduce::MaxSigned : oc::Reduce::Max;
  return (T)oc::reduce(mask, (uint32_t)v, kind, l);
}
inline uint32_t __reduce_or_sync(uint32_t mask, uint32_t v, OC_L) {
  return oc::reduce(mask, v, oc::Reduce::Or, l);
}
inline uint32_t __reduce_and_sync(uint32_t mask, uint32_t v, OC_L) {
  return oc::reduce(mask, v, oc::Reduce::And, l);
}
inline uint32_t __activemask() { return ~0u; }
inline void __threadfence() { oc::fence(); }
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) {}
inline long long clock64() { return 0; }

// ---- sm_80: copies behind the thread's back, matrices
inline uint32_t oc_smem_u32(const void* p, OC_L) { return oc::shared_address_of(p, l); }
inline void oc_cp_async16(uint32_t to, const void* from, bool valid = true, OC_L) {
  oc::copy_async(to, from, 16, valid, l);
}
inline void oc_cp_async4(uint32_t to, const void* from, bool valid = true, OC_L) {
  oc::copy_async(to, from, 4, valid, l);
}
inline void oc_cp_async_commit() { oc::copy_async_commit(); }
template <int N>
inline void oc_cp_async_wait() {
  oc::copy_async_wait(N);
}
inline void oc_ldmatrix_x4(uint32_t (&r)[4], uint32_t address, OC_L) {
  oc::load_matrices(r, address, false, l);
}
inline void oc_ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t address, OC_L) {
  oc::load_matrices(r, address, true, l);
}
inline void oc_mma_bf16_16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], OC_L) {
  oc::multiply(c, a, b, oc::Element::Bf16, l);
}
inline void oc_mma_f16_16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], OC_L) {
  oc::multiply(c, a, b, oc::Element::F16, l);
}
inline void oc_mma_s8_16832(int (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], OC_L) {
  oc::multiply(c, a, b, oc::Element::S8, l);
}

// ---- sm_90: barriers in memory, tensor copies, products of warpgroups
struct alignas(64) OcTensorMap {
  uint64_t words[16];
};
inline void oc_mbarrier_init(uint32_t barrier, unsigned arrivals, OC_L) {
  oc::mbarrier_init(barrier, arrivals, l);
}
inline void oc_mbarrier_arrive(uint32_t barrier, OC_L) { oc::mbarrier_arrive(barrier, 0, l); }
inline void oc_mbarrier_expect(uint32_t barrier, unsigned bytes, OC_L) {
  oc::mbarrier_arrive(barrier, bytes, l);
}
inline void oc_mbarrier_wait(uint32_t barrier, unsigned parity, OC_L) {
  oc::mbarrier_wait(barrier, parity, l);
}
inline void oc_fence_mbarrier_init() {}
inline void oc_fence_async_shared() {}
inline void oc_tensor_load_4d(uint32_t to, const OcTensorMap* map, uint32_t barrier, int c0, int c1,
                              int c2, int c3, OC_L) {
  int coordinates[4] = {c0, c1, c2, c3};
  oc::tensor_load(to, map, barrier, coordinates, 4, l);
}
template <int R>
inline void oc_registers_more() {}
template <int R>
inline void oc_registers_fewer() {}
inline void oc_wgmma_fence() { oc::group_fence(); }
inline void oc_wgmma_commit() { oc::group_commit(); }
template <int N>
inline void oc_wgmma_wait(OC_L) {
  oc::group_wait(N, l);
}
template <class Element, int N>
inline void oc_wgmma_ss(float (&c)[N / 2], uint64_t a, uint64_t b, bool accumulates, OC_L) {
  oc::group_multiply({c, N, nullptr, a, b, false, accumulates, Element::ELEMENT}, l);
}
template <class Element, int N>
inline void oc_wgmma_rs(float (&c)[N / 2], const uint32_t (&a)[4], uint64_t b, OC_L) {
  oc::group_multiply({c, N, a, 0, b, true, true, Element::ELEMENT}, l);
}
struct oc_bf16 {
  static constexpr oc::Element ELEMENT = oc::Element::Bf16;
};
struct oc_f16 {
  static constexpr oc::Element ELEMENT = oc::Element::F16;
};

#include "arithmetic_on_cpu.hpp"

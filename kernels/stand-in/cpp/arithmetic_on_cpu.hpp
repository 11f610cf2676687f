// CUDA's arithmetic for a host compiler: bits, 16-bit floats, atomics. See cuda_on_cpu.hpp.
#pragma once

// ---- atomics: blocks run on several OS threads
namespace oc {
// Outside the instrumentation: the access is checked by atomic_access.
template <class U, class F>
__attribute__((no_sanitize("thread"), noinline)) U atomic_update(U* p, F change) {
  U old = __atomic_load_n(p, __ATOMIC_RELAXED), next;
  do next = change(old);
  while (!__atomic_compare_exchange_n(p, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
  return old;
}
}  // namespace oc
template <class T, class F>
inline T oc_atomic(T* p, T v, F change, std::source_location l) {
  using U = std::conditional_t<sizeof(T) == 8, unsigned long long, unsigned>;
  oc::atomic_access(p, sizeof(T), l);
  return oc_of_bits<T>(oc::atomic_update<U>(
      (U*)p, [&](U old) { return (U)oc_bits((T)change(oc_of_bits<T>(old), v)); }));
}
#define OC_ATOMIC(name, expression)                                               \
  template <class T>                                                              \
  inline T name(T* p, std::type_identity_t<T> v, OC_L) {                          \
    return oc_atomic<T>(p, v, [](T a, T b) { return (T)(expression); }, l);       \
  }
OC_ATOMIC(atomicAdd, a + b)
OC_ATOMIC(atomicSub, a - b)
OC_ATOMIC(atomicMax, a > b ? a : b)
OC_ATOMIC(atomicMin, a < b ? a : b)
OC_ATOMIC(atomicOr, a | b)
OC_ATOMIC(atomicAnd, a& b)
OC_ATOMIC(atomicXor, a ^ b)
OC_ATOMIC(atomicExch, (void(a), b))
template <class T>
inline T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v, OC_L) {
  return oc_atomic<T>(p, v, [expected](T a, T b) { return a == expected ? b : a; }, l);
}

// ---- bits
inline int __float_as_int(float f) { return __builtin_bit_cast(int, f); }
inline unsigned __float_as_uint(float f) { return __builtin_bit_cast(unsigned, f); }
inline float __int_as_float(int i) { return __builtin_bit_cast(float, i); }
inline float __uint_as_float(unsigned i) { return __builtin_bit_cast(float, i); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i);
  return r;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; i++) c += (int)(int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
  return c;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  uint64_t v = (uint64_t)b << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) r |= ((unsigned)(v >> 8 * (s >> 4 * i & 7)) & 255u) << 8 * i;
  return r;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned n) {
  return unsigned(((uint64_t)high << 32 | low) >> (n & 31));
}
template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcs(const T* p) {
  return *p;
}
template <class T>
inline void __stcs(T* p, std::type_identity_t<T> v) {
  *p = v;
}

// ---- floats
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __saturatef(float x) { return x < 0 ? 0 : x > 1 ? 1 : x; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float oc_ex2(float x) { return exp2f(x); }
inline int __float2int_rn(float x) { return (int)nearbyintf(x); }
inline int __float2int_rz(float x) { return (int)x; }
inline float __int2float_rn(int x) { return (float)x; }
template <class A, class B>
inline std::common_type_t<A, B> min(A a, B b) {
  return b < a ? b : a;
}
template <class A, class B>
inline std::common_type_t<A, B> max(A a, B b) {
  return a < b ? b : a;
}

// ---- 16-bit floats
struct __half {
  unsigned short bits;
};
struct __nv_bfloat16 {
  unsigned short bits;
};
struct alignas(4) __half2 {
  __half x, y;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
using half = __half;
using half2 = __half2;
inline float __bfloat162float(__nv_bfloat16 b) { return __uint_as_float((unsigned)b.bits << 16); }
inline __nv_bfloat16 __float2bfloat16(float f) {
  unsigned x = __float_as_uint(f);
  if ((x & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {(unsigned short)((x + 0x7fff + (x >> 16 & 1)) >> 16)};
}
inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __float2bfloat16(f); }
inline float __half2float(__half h) { return (float)__builtin_bit_cast(_Float16, h.bits); }
inline __half __float2half(float f) {
  return {__builtin_bit_cast(unsigned short, (_Float16)f)};
}
inline __half __float2half_rn(float f) { return __float2half(f); }
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
  return {__float2bfloat16(a), __float2bfloat16(b)};
}
inline __half2 __floats2half2_rn(float a, float b) { return {__float2half(a), __float2half(b)}; }
inline float2 __bfloat1622float2(__nv_bfloat162 v) {
  return {__bfloat162float(v.x), __bfloat162float(v.y)};
}
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
inline unsigned short __half_as_ushort(__half h) { return h.bits; }
inline __half __ushort_as_half(unsigned short u) { return {u}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) { return h.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short u) { return {u}; }

inline uint32_t oc_pack_bf16(float low, float high) {
  return (uint32_t)__float2bfloat16(low).bits | (uint32_t)__float2bfloat16(high).bits << 16;
}
inline uint32_t oc_pack_f16(float low, float high) {
  return (uint32_t)__float2half(low).bits | (uint32_t)__float2half(high).bits << 16;
}
inline float2 oc_unpack_bf16(uint32_t w) {
  return {__uint_as_float(w << 16), __uint_as_float(w & 0xffff0000u)};
}
inline float2 oc_unpack_f16(uint32_t w) {
  return {__half2float({(unsigned short)w}), __half2float({(unsigned short)(w >> 16)})};
}
inline uint32_t oc_e4m3x2_to_f16(uint16_t pair) { return oc::e4m3x2_to_f16(pair); }
inline uint8_t oc_f32_to_e4m3(float x) { return oc::f32_to_e4m3(x); }

// PTX in one place: every instruction that CUDA C++ has no name for, under a name of ours.
//
// Kernels include this header and nothing else, and write no `asm`. On a GPU the names are inline
// PTX; where OC_ON_CPU is set, the stand-in (kernels/stand-in/cpp) defines the same names, so that
// the same sources run, and are checked, on a machine without a GPU.
//
// Rules for a kernel file: kernels are `extern "C"` and end in OC_KERNEL(name); dynamic shared
// memory comes from OC_DYN_SMEM(name); no CUB, no cooperative groups, no spinning between blocks.
#pragma once
#ifdef OC_ON_CPU
#include "cuda_on_cpu.hpp"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#ifdef __CUDACC_RTC__
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <cstdint>
#endif

// Names a kernel for the stand-in's registry; nothing on a GPU.
#define OC_KERNEL(name)
// Declares the block's dynamic shared memory, aligned for TMA's widest swizzle.
#define OC_DYN_SMEM(name) extern __shared__ __align__(1024) unsigned char name[]

// The 32-bit shared-memory address that PTX takes.
__device__ __forceinline__ uint32_t oc_smem_u32(const void* p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}

// A barrier of `threads` threads (a multiple of 32) among those of the block that name `id` (1..15).
__device__ __forceinline__ void oc_bar_sync(unsigned id, unsigned threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// 2^x, to two units in the last place; -inf gives 0.
__device__ __forceinline__ float oc_ex2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Copies 16 bytes from global to shared memory behind the thread's back; zeroes where not `valid`.
// `src` must be an address of the allocation even then.
__device__ __forceinline__ void oc_cp_async16(uint32_t dst, const void* src, bool valid = true) {
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes)
               : "memory");
}
// As oc_cp_async16, of 4 bytes.
__device__ __forceinline__ void oc_cp_async4(uint32_t dst, const void* src, bool valid = true) {
  int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(dst), "l"(src), "r"(bytes)
               : "memory");
}
// Ends a group of copies.
__device__ __forceinline__ void oc_cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until all but this thread's last `N` groups have arrived.
template <int N>
__device__ __forceinline__ void oc_cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void oc_ldmatrix_x4(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// As oc_ldmatrix_x4, each matrix transposed.
__device__ __forceinline__ void oc_ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// c(16, 8) += a(16, 16) * b(16, 8), operands in BF16, sums in F32. Fragments as PTX lays them out.
__device__ __forceinline__ void oc_mma_bf16_16816(float (&c)[4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// As oc_mma_bf16_16816, operands in F16.
__device__ __forceinline__ void oc_mma_f16_16816(float (&c)[4], const uint32_t (&a)[4],
                                                 const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// c(16, 8) += a(16, 32) * b(32, 8), operands signed bytes, sums in 32 bits.
__device__ __forceinline__ void oc_mma_s8_16832(int (&c)[4], const uint32_t (&a)[4],
                                                const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two floats as F16 or BF16 in one word, the first in the low half.
__device__ __forceinline__ uint32_t oc_pack_bf16(float low, float high) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ __forceinline__ uint32_t oc_pack_f16(float low, float high) {
  uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
// The two halves of such a word.
__device__ __forceinline__ float2 oc_unpack_bf16(uint32_t w) {
  return make_float2(__uint_as_float(w << 16), __uint_as_float(w & 0xffff0000u));
}
__device__ __forceinline__ float2 oc_unpack_f16(uint32_t w) {
  return __half22float2(*reinterpret_cast<__half2*>(&w));
}
// Two E4M3 bytes as two F16 in one word. Compiled for chips before sm_89 too, in software.
__device__ __forceinline__ uint32_t oc_e4m3x2_to_f16(uint16_t pair) {
  __half2_raw h = __nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)pair, __NV_E4M3);
  return (uint32_t)h.x | (uint32_t)h.y << 16;
}
// A float as E4M3, to the nearest; what is beyond its range becomes the largest (448).
__device__ __forceinline__ uint8_t oc_f32_to_e4m3(float x) {
  return (uint8_t)__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}

// ---- sm_90

// A tensor's description for oc_tensor_load, made by cuTensorMapEncodeTiled and passed by value.
struct alignas(64) OcTensorMap {
  uint64_t words[16];
};

// A barrier of 8 bytes of shared memory: a phase ends when `arrivals` threads have arrived and all
// bytes that they expect.
__device__ __forceinline__ void oc_mbarrier_init(uint32_t barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void oc_mbarrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives, and has the phase wait for `bytes` of copies.
__device__ __forceinline__ void oc_mbarrier_expect(uint32_t barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Waits for the end of the phase of this parity; of the one before the first, where it is 1.
__device__ __forceinline__ void oc_mbarrier_wait(uint32_t barrier, unsigned parity) {
  asm volatile(
      "{\n.reg .pred p;\nW_%=:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@p bra D_%=;\nbra W_%=;\nD_%=:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// Shows the initialised barriers to copies.
__device__ __forceinline__ void oc_fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// Shows what threads wrote to shared memory to wgmma and copies.
__device__ __forceinline__ void oc_fence_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Copies a box of a tensor of four dimensions, innermost coordinate first; it arrives at `barrier`.
__device__ __forceinline__ void oc_tensor_load_4d(uint32_t to, const OcTensorMap* map,
                                                  uint32_t barrier, int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3,%4,%5,%6}], [%2];" ::"r"(to),
      "l"((uint64_t)map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}
// Takes registers from, or gives them to, the other warpgroups of the block.
template <int R>
__device__ __forceinline__ void oc_registers_more() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(R));
}
template <int R>
__device__ __forceinline__ void oc_registers_fewer() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(R));
}

// Products of a warpgroup. Registers are the product's from the fence to the wait.
__device__ __forceinline__ void oc_wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void oc_wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int N>
__device__ __forceinline__ void oc_wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
struct oc_bf16 {};
struct oc_f16 {};
// c(64, N) = a(64, 16) * b(N, 16)^T, plus c where `accumulates`; both tiles in shared memory, their
// rows along K. A specialisation for each element and N.
template <class Element, int N>
__device__ __forceinline__ void oc_wgmma_ss(float (&c)[N / 2], uint64_t a, uint64_t b, bool accumulates);
// c(64, N) += a(64, 16) * b(16, N); a in registers, b's rows along N.
template <class Element, int N>
__device__ __forceinline__ void oc_wgmma_rs(float (&c)[N / 2], const uint32_t (&a)[4], uint64_t b);

#define OC_C8(c, i) \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
      "+f"(c[i + 6]), "+f"(c[i + 7])
#define OC_C32(c) OC_C8(c, 0), OC_C8(c, 8), OC_C8(c, 16), OC_C8(c, 24)
#define OC_C64(c) OC_C32(c), OC_C8(c, 32), OC_C8(c, 40), OC_C8(c, 48), OC_C8(c, 56)
#define OC_R32                                                                              \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23," \
  "%24,%25,%26,%27,%28,%29,%30,%31"
#define OC_R64                                                                            \
  OC_R32                                                                                  \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52," \
  "%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
// R: the sums' registers; A, B, P, Q, S: the numbers of the operands behind them.
#define OC_WGMMA(Element, type, N, R, C, A, B, P, Q, S)                                       \
  template <>                                                                                    \
  __device__ __forceinline__ void oc_wgmma_ss<Element, N>(float (&c)[N / 2], uint64_t a,         \
                                                          uint64_t b, bool accumulates) {        \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" P ", 0;\n"                                 \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " " R "}, %" A  \
                 ", %" B ", p, 1, 1, 0, 0;\n}"                                                   \
                 : C(c)                                                                          \
                 : "l"(a), "l"(b), "r"((int)accumulates));                                       \
  }                                                                                              \
  template <>                                                                                    \
  __device__ __forceinline__ void oc_wgmma_rs<Element, N>(float (&c)[N / 2],                     \
                                                          const uint32_t (&a)[4], uint64_t b) {  \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " " R           \
                 "}, {%" A ",%" B ",%" P ",%" Q "}, %" S ", 1, 1, 1, 1;"                         \
                 : C(c)                                                                          \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                          \
  }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
OC_WGMMA(oc_bf16, "bf16", 128, OC_R64, OC_C64, "64", "65", "66", "67", "68")
OC_WGMMA(oc_f16, "f16", 128, OC_R64, OC_C64, "64", "65", "66", "67", "68")
OC_WGMMA(oc_bf16, "bf16", 64, OC_R32, OC_C32, "32", "33", "34", "35", "36")
OC_WGMMA(oc_f16, "f16", 64, OC_R32, OC_C32, "32", "33", "34", "35", "36")
#endif
#endif

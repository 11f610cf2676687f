// A stand-in for libcuda: devices, contexts, memory, streams and events of the driver API, as far as
// cudarc calls them. Everything runs at once, in the calling thread.
#include "driver.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace oc {

Device device;
int sticky = OK;
std::string last_report;

static Stream default_stream;
static thread_local void* context = nullptr;
static int contexts[64];

Stream& stream_of(void* handle) {
  return (uintptr_t)handle <= 2 ? default_stream : *(Stream*)handle;
}

int run_step(void* stream, Step step) {
  if (sticky) return sticky;
  Stream& s = stream_of(stream);
  if (!s.capture) return step();
  s.capture->push_back(std::move(step));
  return OK;
}

struct Event {
  double milliseconds = 0;
};

static double now() {
  auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(since).count();
}

// ---- device memory: fresh bytes are not numbers, and allocations do not touch

static int allocate(uint64_t* p, size_t size) {
  if (sticky) return sticky;
  if (size == 0) return INVALID_VALUE;
  if (allocated_bytes() + size > device.memory) return OUT_OF_MEMORY;
  size_t rounded = (size + 255) / 256 * 256 + 256;
  void* at = aligned_alloc(256, rounded);
  if (!at) return OUT_OF_MEMORY;
  memset(at, 0xFF, rounded);
  add_allocation(at, size);
  *p = (uint64_t)at;
  return OK;
}

static int release(uint64_t p) {
  if (!p) return OK;
  if (!remove_allocation((void*)p)) return INVALID_VALUE;
  free((void*)p);
  return OK;
}

static int to_device(void* stream, uint64_t to, const void* from, size_t size) {
  if (size && !is_allocated((void*)to, size)) return INVALID_VALUE;
  return run_step(stream, [=] {
    memcpy((void*)to, from, size);
    mark_written((void*)to, size);
    return OK;
  });
}

static std::atomic<size_t> brought_back;

// Bytes that were copied from the device to the host.
extern "C" __attribute__((visibility("default"))) size_t outcrop_stand_in_brought_back() {
  return brought_back;
}

static int to_host(void* stream, void* to, uint64_t from, size_t size) {
  if (size && !is_allocated((void*)from, size)) return INVALID_VALUE;
  return run_step(stream, [=] {
    memcpy(to, (void*)from, size);
    brought_back += size;
    return OK;
  });
}

static int within_device(void* stream, uint64_t to, uint64_t from, size_t size) {
  if (size && !(is_allocated((void*)to, size) && is_allocated((void*)from, size)))
    return INVALID_VALUE;
  return run_step(stream, [=] {
    memmove((void*)to, (void*)from, size);
    mark_written((void*)to, size);
    return OK;
  });
}

template <class T>
static int fill(void* stream, uint64_t to, T value, size_t count) {
  if (count && !is_allocated((void*)to, count * sizeof(T))) return INVALID_VALUE;
  return run_step(stream, [=] {
    for (size_t i = 0; i < count; i++) ((T*)to)[i] = value;
    mark_written((void*)to, count * sizeof(T));
    return OK;
  });
}

static int attribute(int which) {
  switch (which) {
    case 1: return 1024;             // threads of a block
    case 2: case 3: return 1024;     // of its x and y
    case 4: return 64;
    case 5: return 2147483647;       // blocks of a grid
    case 6: case 7: return 65535;
    case 8: return 49152;            // shared memory of a block
    case 10: return 32;              // warp
    case 12: return 65536;           // registers of a block
    case 13: return 1000000;         // kHz
    case 16: return 4;               // multiprocessors
    case 38: return 4 << 20;         // level 2 cache
    case 39: return 2048;            // threads of a multiprocessor
    case 41: return 1;               // unified addressing
    case 75: return device.capability / 10;
    case 76: return device.capability % 10;
    case 81: return 233472;          // shared memory of a multiprocessor
    case 82: return 65536;           // its registers
    case 97: return 232448;          // shared memory that a block can opt in to
    case 106: return 32;             // blocks of a multiprocessor
    case 115: return 1;              // memory pools
    default: return 0;
  }
}

}  // namespace oc

using namespace oc;

// ---- devices and contexts

CU cuInit(unsigned) { return device.count ? OK : NO_DEVICE; }
CU cuDriverGetVersion(int* v) { return *v = device.driver, OK; }
CU cuDeviceGetCount(int* n) { return *n = device.count, OK; }
CU cuDeviceGet(int* d, int i) {
  if (i < 0 || i >= device.count) return INVALID_DEVICE;
  return *d = i, OK;
}
CU cuDeviceGetName(char* s, int n, int) { return snprintf(s, n, "Outcrop stand-in"), OK; }
CU cuDeviceGetUuid(char* uuid, int d) { return memset(uuid, d + 1, 16), OK; }
CU cuDeviceGetUuid_v2(char* uuid, int d) { return cuDeviceGetUuid(uuid, d); }
CU cuDeviceTotalMem_v2(size_t* n, int) { return *n = device.memory, OK; }
CU cuDeviceGetAttribute(int* v, int which, int) { return *v = attribute(which), OK; }
CU cuDeviceGetDefaultMemPool(void** pool, int) { return *pool = contexts, OK; }
CU cuDeviceGetMemPool(void** pool, int) { return *pool = contexts, OK; }
CU cuDeviceSetMemPool(int, void*) { return OK; }
CU cuMemPoolSetAttribute(void*, int, void*) { return OK; }
CU cuMemPoolGetAttribute(void*, int, void* v) { return *(uint64_t*)v = 0, OK; }
CU cuMemPoolTrimTo(void*, size_t) { return OK; }
CU cuDevicePrimaryCtxRetain(void** c, int d) {
  if (d < 0 || d >= device.count) return INVALID_DEVICE;
  return *c = &contexts[d], sticky;
}
CU cuDevicePrimaryCtxRelease_v2(int) { return OK; }
CU cuCtxSetCurrent(void* c) { return context = c, OK; }
CU cuCtxGetCurrent(void** c) { return *c = context, OK; }
CU cuCtxGetDevice(int* d) {
  if (!context) return INVALID_CONTEXT;
  return *d = int((int*)context - contexts), OK;
}
CU cuCtxSynchronize() { return sticky; }
CU cuCtxSetLimit(int, size_t) { return OK; }
CU cuCtxGetLimit(size_t* v, int) { return *v = 1024, OK; }
CU cuCtxSetFlags(unsigned) { return OK; }
CU cuCtxGetStreamPriorityRange(int* low, int* high) { return *low = 0, *high = -1, OK; }
CU cuProfilerStart() { return OK; }
CU cuProfilerStop() { return OK; }

CU cuGetErrorName(int r, const char** s) {
  switch (r) {
    case OK: *s = "CUDA_SUCCESS"; break;
    case INVALID_VALUE: *s = "CUDA_ERROR_INVALID_VALUE"; break;
    case OUT_OF_MEMORY: *s = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case NO_DEVICE: *s = "CUDA_ERROR_NO_DEVICE"; break;
    case INVALID_DEVICE: *s = "CUDA_ERROR_INVALID_DEVICE"; break;
    case INVALID_IMAGE: *s = "CUDA_ERROR_INVALID_IMAGE"; break;
    case INVALID_CONTEXT: *s = "CUDA_ERROR_INVALID_CONTEXT"; break;
    case NOT_FOUND: *s = "CUDA_ERROR_NOT_FOUND"; break;
    case LAUNCH_FAILED: *s = "CUDA_ERROR_LAUNCH_FAILED"; break;
    case CAPTURE_UNSUPPORTED: *s = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"; break;
    case CAPTURE_INVALIDATED: *s = "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"; break;
    case NOT_SUPPORTED: *s = "CUDA_ERROR_NOT_SUPPORTED"; break;
    default: *s = "CUDA_ERROR_UNKNOWN";
  }
  return OK;
}
CU cuGetErrorString(int r, const char** s) {
  if (r == LAUNCH_FAILED && !last_report.empty()) return *s = last_report.c_str(), OK;
  return cuGetErrorName(r, s);
}

// ---- memory

CU cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
  size_t used = allocated_bytes();
  *free_bytes = used < device.memory ? device.memory - used : 0;
  return *total = device.memory, sticky;
}
CU cuMemAlloc_v2(uint64_t* p, size_t n) { return allocate(p, n); }
CU cuMemFree_v2(uint64_t p) { return release(p); }
CU cuMemAllocAsync(uint64_t* p, size_t n, void* s) {
  return stream_of(s).capture ? CAPTURE_UNSUPPORTED : allocate(p, n);
}
CU cuMemFreeAsync(uint64_t p, void* s) {
  return stream_of(s).capture ? CAPTURE_UNSUPPORTED : release(p);
}
CU cuMemHostAlloc(void** p, size_t n, unsigned) {
  *p = aligned_alloc(4096, (n + 4095) / 4096 * 4096);
  return *p ? OK : OUT_OF_MEMORY;
}
CU cuMemAllocHost_v2(void** p, size_t n) { return cuMemHostAlloc(p, n, 0); }
CU cuMemFreeHost(void* p) { return free(p), OK; }
CU cuMemHostRegister_v2(void*, size_t, unsigned) { return OK; }
CU cuMemHostUnregister(void*) { return OK; }
CU cuMemcpyHtoD_v2(uint64_t d, const void* s, size_t n) { return to_device(nullptr, d, s, n); }
CU cuMemcpyDtoH_v2(void* d, uint64_t s, size_t n) { return to_host(nullptr, d, s, n); }
CU cuMemcpyDtoD_v2(uint64_t d, uint64_t s, size_t n) { return within_device(nullptr, d, s, n); }
CU cuMemcpyHtoDAsync_v2(uint64_t d, const void* s, size_t n, void* stream) {
  return to_device(stream, d, s, n);
}
CU cuMemcpyDtoHAsync_v2(void* d, uint64_t s, size_t n, void* stream) {
  return to_host(stream, d, s, n);
}
CU cuMemcpyDtoDAsync_v2(uint64_t d, uint64_t s, size_t n, void* stream) {
  return within_device(stream, d, s, n);
}
CU cuMemcpyPeerAsync(uint64_t d, void*, uint64_t s, void*, size_t n, void* stream) {
  return within_device(stream, d, s, n);
}
CU cuMemsetD8_v2(uint64_t d, unsigned char v, size_t n) { return fill(nullptr, d, v, n); }
CU cuMemsetD8Async(uint64_t d, unsigned char v, size_t n, void* s) { return fill(s, d, v, n); }
CU cuMemsetD16Async(uint64_t d, unsigned short v, size_t n, void* s) { return fill(s, d, v, n); }
CU cuMemsetD32Async(uint64_t d, unsigned v, size_t n, void* s) { return fill(s, d, v, n); }

// ---- tensor maps: the stand-in's own form, see runtime.hpp

CU cuTensorMapEncodeTiled(void* to, int type, unsigned rank, void* address, const uint64_t* sizes,
                          const uint64_t* strides, const uint32_t* box, const uint32_t* steps,
                          int interleave, int swizzle, int, int) {
  // By the enumerators of CUtensorMapDataType and CUtensorMapSwizzle.
  static const unsigned widths[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4};
  if (type < 0 || type > 12 || rank < 1 || rank > 5 || interleave || (swizzle && swizzle != 3))
    return INVALID_VALUE;
  TensorMap map{TensorMap::MARK, rank, widths[type], swizzle ? 128u : 0u, (uint64_t)address, {}, {}, {}};
  for (unsigned i = 0; i < rank; i++) {
    if (!box[i] || box[i] > 256 || steps[i] != 1 || !sizes[i] || sizes[i] > 1ull << 32)
      return INVALID_VALUE;
    if (i > 0 && strides[i - 1] % 16) return INVALID_VALUE;
    map.sizes[i] = (uint32_t)sizes[i];
    map.box[i] = box[i];
    if (i > 0) map.strides[i - 1] = strides[i - 1];
  }
  unsigned run = box[0] * widths[type];
  if ((uint64_t)address % 16 || run % 16 || (swizzle && run > 128)) return INVALID_VALUE;
  return memcpy(to, &map, sizeof map), OK;
}

// ---- streams and events

CU cuStreamCreate(void** s, unsigned) { return *s = new Stream, sticky; }
CU cuStreamCreateWithPriority(void** s, unsigned, int) { return *s = new Stream, sticky; }
CU cuStreamDestroy_v2(void* s) { return delete (Stream*)s, OK; }
CU cuStreamSynchronize(void* s) { return stream_of(s).capture ? CAPTURE_UNSUPPORTED : sticky; }
CU cuStreamQuery(void*) { return sticky; }
CU cuStreamWaitEvent(void*, void*, unsigned) { return sticky; }
CU cuLaunchHostFunc(void* s, void (*f)(void*), void* data) {
  return run_step(s, [=] { return f(data), OK; });
}
CU cuEventCreate(void** e, unsigned) { return *e = new Event, sticky; }
CU cuEventDestroy_v2(void* e) { return delete (Event*)e, OK; }
CU cuEventRecord(void* e, void*) { return ((Event*)e)->milliseconds = now(), sticky; }
CU cuEventSynchronize(void*) { return sticky; }
CU cuEventQuery(void*) { return sticky; }
CU cuEventElapsedTime_v2(float* ms, void* from, void* to) {
  return *ms = float(((Event*)to)->milliseconds - ((Event*)from)->milliseconds), OK;
}
CU cuEventElapsedTime(float* ms, void* from, void* to) {
  return cuEventElapsedTime_v2(ms, from, to);
}

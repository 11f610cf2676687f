// The stand-in's block: fibers for threads, and what its parts share.
//
// One OS thread runs one block at a time; every CUDA thread is a fiber; a fiber leaves the CPU only
// where CUDA threads meet (a barrier, a warp collective, an mbarrier). Nothing here is instrumented:
// see memory.cpp for what is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

namespace oc {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

// Where something was asked for: a source location, or a code address that is resolved when it is
// reported. One word, so that a check can keep two of them for each byte.
using Site = uint64_t;
constexpr Site CODE_ADDRESS = 1ull << 63;
inline Site site_of(std::source_location where) {
  static_assert(sizeof where == sizeof(Site));
  return __builtin_bit_cast(Site, where);
}
inline Site site_of_code(const void* address) { return (Site)address | CODE_ADDRESS; }
std::string describe(Site site);

// What each thread knows of the others: clocks of those it is ordered behind. Shared between the
// threads that met in one barrier, never changed.
using Clocks = std::shared_ptr<const std::vector<uint32_t>>;

enum class State : uint8_t { Ready, InWarp, InBarrier, InMbarrier, Done };

struct PendingCopy {
  unsigned char* to;
  const void* from;
  unsigned size;
  bool zeroes;
  Site site;
};

// A warpgroup's product as one of its threads issued it.
struct Product {
  float* c;
  unsigned n;
  bool has_registers, b_is_transposed, accumulates, is_bf16;
  uint32_t a[4];
  uint64_t a_tile, b_tile;
  Site site;
};

struct Fiber {
  void* stack_pointer = nullptr;
  unsigned x = 0, y = 0, z = 0, linear = 0, lane = 0, warp = 0;
  State state = State::Done;
  // What it waits for.
  unsigned barrier = 0;
  uint64_t mbarrier = 0;
  unsigned phase = 0;
  const char* what = "";
  Site site = 0;
  // cp.async: groups issued and not yet waited for, and the open one.
  std::vector<std::vector<PendingCopy>> groups;
  std::vector<PendingCopy> open;
  // wgmma: products issued and not yet waited for, by group; whether the fence came.
  std::vector<std::vector<Product>> products;
  bool fenced_registers = false;
  // Checking: this thread's own clock, and whether a fence came before its next atomic.
  uint32_t clock = 1;
  Clocks seen;
  bool fenced = false;
};

// Lanes that meet in one collective, by the lowest lane of their mask.
struct Meeting {
  uint32_t mask = 0, arrived = 0;
  const char* what = nullptr;
  Site site = 0;
  void* arguments[32];
};

struct Barrier {
  unsigned arrived = 0, expected = 0;
  int sum = 0, result = 0;
  std::vector<unsigned> members;
};

struct Worker {
  static constexpr size_t STACK = 128 << 10;
  static constexpr size_t SHARED = 232448;
  std::vector<Fiber> fibers;
  std::vector<Meeting> meetings;  // 32 a warp
  Barrier barriers[16];
  char* stacks = nullptr;
  size_t stack_count = 0;
  void* main_stack_pointer = nullptr;
  unsigned char* shared = nullptr;
  size_t shared_size = 0;
  // The thread's copy of the kernels' static shared arrays.
  unsigned char* static_shared = nullptr;
  size_t static_shared_size = 0;
  unsigned threads = 0, live = 0;
  Dim3 grid, block, index;
  uint32_t block_stamp = 0;
  const std::string* kernel = nullptr;
  const std::function<void()>* body = nullptr;
  std::string error;
  uint64_t random = 1;
  std::shared_ptr<struct Hopper> hopper;  // mbarriers and tensor copies: see hopper.cpp
  std::vector<unsigned> group_arrived;    // threads of each warpgroup that wait for its products
  Worker();
  ~Worker();
};

extern thread_local Worker* worker;
extern thread_local Fiber* current;

// Runs a grid. Returns the report of what went wrong, or an empty string.
std::string run_grid(const std::string& kernel, Dim3 grid, Dim3 block, size_t shared,
                     const std::function<void()>& body);
void run_block(Worker& w);

// Ends the block: reports `message` for the current thread and never returns to it.
[[noreturn]] void fault(const std::string& message, Site site);
// Leaves the CPU until the scheduler picks this fiber again.
void leave();
void init_fiber(Worker& w, Fiber& f);
void enter(Fiber& f);

// A warp collective: each lane of `mask` hands its arguments; the last to come combines them all.
using Combine = void (*)(void* const* arguments, uint32_t mask);
void meet(uint32_t mask, void* arguments, Combine combine, const char* what, Site site,
          bool orders_memory = false);
int barrier(unsigned id, unsigned threads, int value, const char* what, Site site);
void release_barrier(Worker& w, unsigned id);

// A shared-memory address as PTX has it, and back. Checks bounds and alignment.
uint32_t shared_address(const void* p, Site site);
unsigned char* shared_pointer(uint32_t address, unsigned size, Site site);

// What the driver makes of a tensor for tensor_load: the stand-in's own form of a CUtensorMap.
struct TensorMap {
  static constexpr uint32_t MARK = 0x54434f01;
  uint32_t mark, rank, element_bytes, swizzle_bytes;
  uint64_t address;
  uint64_t strides[4];
  uint32_t sizes[5], box[5];
};
static_assert(sizeof(TensorMap) <= 128);

// Moves asynchronous copies forward; whether anything arrived.
bool advance_hopper(Worker& w);
void reset_hopper(Worker& w);

// Settings of the process.
struct Settings {
  unsigned schedule = 0;
  unsigned threads = 0;
};
Settings& settings();
// Whether accesses are checked: read by every hook.
extern bool checking;

struct Kernel {
  std::string file;
  void (*call)(void** arguments);
  std::vector<size_t> sizes;
};
std::map<std::string, Kernel>& kernels();

}  // namespace oc

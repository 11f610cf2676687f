// Checks of memory: races, missing barriers, accesses out of bounds and reads of what nobody wrote.
//
// Kernels are compiled with the compiler's thread-sanitizer instrumentation, which calls a function
// of ours (hooks.cpp) before each access. For each byte of shared and device memory a cell keeps
// who wrote it and who read it last, with that thread's clock. Threads of a block are ordered by
// vector clocks: a barrier, __syncwarp and an mbarrier carry them from thread to thread, so an
// access that conflicts with one it is not ordered behind is a race, whatever the schedule.
#include "memory.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>

namespace oc {

// Who touched a byte. Stamps number blocks over all launches; zero is nobody.
struct Cell {
  Site write_site, read_site[2];
  uint32_t write_block, write_clock;
  uint32_t read_block[2], read_clock[2];
  uint16_t writer, reader[2];
  // The block in which a copy is to fill it.
  uint32_t in_flight;
  bool written, atomic;
};

// The cells of one range of memory, made as they are first needed.
class Shadow {
 public:
  Cell& at(size_t offset) {
    size_t page = offset / PAGE;
    if (page >= pages.size()) pages.resize(page + 1);
    if (!pages[page]) pages[page] = std::make_unique<Cell[]>(PAGE);
    return pages[page][offset % PAGE];
  }

 private:
  static constexpr size_t PAGE = 1024;
  std::vector<std::unique_ptr<Cell[]>> pages;
};

struct Allocation {
  size_t size;
  // Which bytes were written, a bit each. Kept only while checks are on.
  std::vector<bool> written;
  Shadow shadow;
};

bool checking = false;

static std::mutex lock;
static std::map<uintptr_t, Allocation> allocations;
static size_t total_bytes = 0;
static Shadow shared_shadow, static_shadow;
static uint32_t last_stamp = 0, launch_stamp = 0;
// Blocks whose writes each block of this launch has acquired, by stamp; and what each atomic's
// address has been released by.
static std::unordered_map<uint32_t, std::vector<uint32_t>> acquired;
static std::unordered_map<uintptr_t, std::vector<uint32_t>> released;

void add_allocation(void* at, size_t size) {
  std::lock_guard guard(lock);
  Allocation& a = allocations[(uintptr_t)at];
  a.size = size;
  a.written.assign(checking ? size : 0, false);
  total_bytes += size;
}

bool remove_allocation(void* at) {
  std::lock_guard guard(lock);
  auto found = allocations.find((uintptr_t)at);
  if (found == allocations.end()) return false;
  total_bytes -= found->second.size;
  allocations.erase(found);
  return true;
}

size_t allocated_bytes() {
  std::lock_guard guard(lock);
  return total_bytes;
}

static std::map<uintptr_t, Allocation>::iterator find(uintptr_t at, size_t size) {
  auto next = allocations.upper_bound(at);
  if (next == allocations.begin()) return allocations.end();
  auto found = std::prev(next);
  return at + size <= found->first + found->second.size ? found : allocations.end();
}

bool is_allocated(const void* at, size_t size) {
  std::lock_guard guard(lock);
  return find((uintptr_t)at, size) != allocations.end();
}

void mark_written(const void* at, size_t size) {
  std::lock_guard guard(lock);
  auto found = find((uintptr_t)at, size);
  if (found == allocations.end()) return;
  auto& written = found->second.written;
  size_t from = (uintptr_t)at - found->first;
  if (written.empty()) return;
  std::fill(written.begin() + from, written.begin() + from + size, true);
}

static std::string name_of(const Worker& w, unsigned linear) {
  const Fiber& f = w.fibers[linear];
  return "thread (" + std::to_string(f.x) + "," + std::to_string(f.y) + "," + std::to_string(f.z) +
         ")";
}

static bool is_behind(const Fiber& me, unsigned other, uint32_t clock) {
  if (other == me.linear) return true;
  return me.seen && (*me.seen)[other] >= clock;
}

// Whether this block is ordered behind what another did; whether the other thread is, in this one.
static bool is_ordered(const Worker& w, const Fiber& me, uint32_t block, unsigned thread,
                       uint32_t clock) {
  if (block < launch_stamp) return true;
  if (block == w.block_stamp) return is_behind(me, thread, clock);
  auto found = acquired.find(w.block_stamp);
  if (found == acquired.end()) return false;
  return std::find(found->second.begin(), found->second.end(), block) != found->second.end();
}

static const char* verb(Access access) {
  return access == Access::Read ? "reads" : access == Access::Write ? "writes" : "updates";
}

[[noreturn]] static void report_race(const Worker& w, const char* space, const char* before,
                                     uint32_t block, unsigned thread, Site site, Access access,
                                     Site here) {
  std::string other = block == w.block_stamp ? name_of(w, thread) : std::string("another block");
  fault(std::string("race on ") + space + " memory: it " + verb(access) + " what " + other + " " +
            before + " at " + describe(site) +
            (block == w.block_stamp ? ", with no barrier between," : ", with no order between,"),
        here);
}

static void check_byte(const Worker& w, Cell& c, const char* space, Access access, Site site) {
  const Fiber& me = *current;
  if (c.in_flight == w.block_stamp)
    fault(std::string("it ") + verb(access) + " " + space +
              " memory that an asynchronous copy of " + describe(c.write_site) +
              " has not filled yet",
          site);
  bool both_atomic = access == Access::Atomic && c.atomic;
  if (c.write_block && !both_atomic &&
      !is_ordered(w, me, c.write_block, c.writer, c.write_clock))
    report_race(w, space, "wrote", c.write_block, c.writer, c.write_site, access, site);
  if (access == Access::Read) {
    int slot = c.read_block[0] == w.block_stamp && c.reader[0] != me.linear;
    c.read_block[slot] = w.block_stamp;
    c.read_clock[slot] = me.clock;
    c.reader[slot] = (uint16_t)me.linear;
    c.read_site[slot] = site;
    return;
  }
  for (int i = 0; i < 2; i++)
    if (c.read_block[i] && !is_ordered(w, me, c.read_block[i], c.reader[i], c.read_clock[i]))
      report_race(w, space, "read", c.read_block[i], c.reader[i], c.read_site[i], access, site);
  c.write_block = w.block_stamp;
  c.write_clock = me.clock;
  c.writer = (uint16_t)me.linear;
  c.write_site = site;
  c.written = true;
  c.atomic = access == Access::Atomic;
}

// A range of memory: its cells, and where the access begins in it.
struct Place {
  Shadow* shadow = nullptr;
  size_t offset = 0;
  const char* space = "";
  std::vector<bool>* written = nullptr;
};

static bool locate(const Worker& w, uintptr_t at, size_t size, Place& place) {
  auto within = [at, size](const void* from, size_t length) {
    return at >= (uintptr_t)from && at + size <= (uintptr_t)from + length;
  };
  if (within(w.stacks, w.stack_count * Worker::STACK)) return true;
  if (within(w.shared, w.shared_size)) {
    place = {&shared_shadow, at - (uintptr_t)w.shared, "shared", nullptr};
    return true;
  }
  if (within(w.static_shared, w.static_shared_size)) {
    place = {&static_shadow, at - (uintptr_t)w.static_shared, "shared", nullptr};
    return true;
  }
  auto found = find(at, size);
  if (found != allocations.end()) {
    place = {&found->second.shadow, at - found->first, "device", &found->second.written};
    return true;
  }
  return in_library(at);
}

static std::string out_of_bounds(const Worker& w, uintptr_t at, size_t size) {
  std::string text = "out of bounds: an access of " + std::to_string(size) + " bytes";
  uintptr_t shared = (uintptr_t)w.shared;
  if (at >= shared && at < shared + (256 << 10))
    return text + " at " + std::to_string(at - shared) + " of the block's " +
           std::to_string(w.shared_size) + " bytes of dynamic shared memory";
  auto next = allocations.upper_bound(at);
  if (next == allocations.begin()) return text + " outside all allocations";
  auto before = std::prev(next);
  return text + " at " + std::to_string(at - before->first) + " of an allocation of " +
         std::to_string(before->second.size) + " bytes";
}

void check_access(const void* address, size_t size, Access access, Site site) {
  Worker& w = *worker;
  uintptr_t at = (uintptr_t)address;
  if (size <= 16 && (size & (size - 1)) == 0 && at % size)
    fault("misaligned access of " + std::to_string(size) + " bytes", site);
  Place place;
  if (!locate(w, at, size, place)) fault(out_of_bounds(w, at, size), site);
  if (!place.shadow) return;
  for (size_t i = 0; i < size; i++) {
    Cell& c = place.shadow->at(place.offset + i);
    bool fresh = !place.written && c.write_block != w.block_stamp;
    if (fresh) {
      // Shared memory is new in each block.
      c.write_block = 0;
      c.written = false;
      if (c.read_block[0] != w.block_stamp) c.read_block[0] = c.read_block[1] = 0;
      if (c.read_block[1] != w.block_stamp) c.read_block[1] = 0;
    }
    bool known = place.written ? place.written->empty() || (*place.written)[place.offset + i]
                               : c.written;
    if (access != Access::Write && !known)
      fault(std::string("uninitialised read: it ") + verb(access) + " " + place.space +
                " memory that nobody wrote",
            site);
    check_byte(w, c, place.space, access, site);
    if (place.written && !place.written->empty() && access != Access::Read)
      (*place.written)[place.offset + i] = true;
  }
}

void mark_in_flight(const void* address, size_t size, Site site) {
  check_access(address, size, Access::Write, site);
  Place place;
  locate(*worker, (uintptr_t)address, size, place);
  if (!place.shadow) return;
  for (size_t i = 0; i < size; i++) place.shadow->at(place.offset + i).in_flight = worker->block_stamp;
}

void clear_in_flight(const void* address, size_t size, bool by_wait) {
  Place place;
  locate(*worker, (uintptr_t)address, size, place);
  if (!place.shadow) return;
  for (size_t i = 0; i < size; i++) {
    Cell& c = place.shadow->at(place.offset + i);
    c.in_flight = 0;
    // What a thread waited for belongs to its present; what came by itself, to its request.
    if (by_wait && c.writer == current->linear) c.write_clock = current->clock;
  }
}

void order_blocks(const void* address, bool has_fenced) {
  if (!checking) return;
  uint32_t me = worker->block_stamp;
  auto& through = released[(uintptr_t)address];
  auto& mine = acquired[me];
  for (uint32_t block : through)
    if (std::find(mine.begin(), mine.end(), block) == mine.end()) mine.push_back(block);
  if (!has_fenced) return;
  for (uint32_t block : mine)
    if (std::find(through.begin(), through.end(), block) == through.end())
      through.push_back(block);
  if (std::find(through.begin(), through.end(), me) == through.end()) through.push_back(me);
}

// A checked launch has the history to itself.
static bool launch_checked = false;

void start_launch() {
  if (!checking) return;
  lock.lock();
  launch_checked = true;
  launch_stamp = last_stamp + 1;
  acquired.clear();
  released.clear();
}

void end_launch() {
  if (!launch_checked) return;
  launch_checked = false;
  lock.unlock();
}

void start_checks(Worker& w) {
  if (checking) w.block_stamp = ++last_stamp;
}

}  // namespace oc

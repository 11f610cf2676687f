// sm_90's barriers in memory, and tensor copies that complete on them.
//
// A copy arrives when the schedule says so, as late as all threads wait for it or as early as right
// away; until then its target is poison, and for the checks it is in flight.
#include <algorithm>
#include <cstring>

#include "cuda_on_cpu.hpp"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#include "memory.hpp"
#include "runtime.hpp"

namespace oc {

struct Mbarrier {
  unsigned arrivals = 0, pending = 0;
  long bytes = 0;
  unsigned phase = 0;
  Clocks coming, passed;
};

struct TensorCopy {
  uint32_t to, barrier;
  TensorMap map;
  int coordinates[5];
  unsigned thread;
  Site site;
  Clocks seen;
};

struct Hopper {
  std::map<uint32_t, Mbarrier> barriers;
  std::vector<TensorCopy> copies;
};

void reset_hopper(Worker& w) {
  if (!w.hopper) w.hopper = std::make_shared<Hopper>();
  w.hopper->barriers.clear();
  w.hopper->copies.clear();
}

static Mbarrier& barrier_at(uint32_t address, Site site) {
  auto& all = worker->hopper->barriers;
  auto found = all.find(address);
  if (found == all.end()) fault("an mbarrier that nobody initialised", site);
  if (checking) check_access(shared_pointer(address, 8, site), 8, Access::Atomic, site);
  return found->second;
}

// Ends the phase where all have arrived, threads and bytes.
static void settle(uint32_t address, Mbarrier& b) {
  if (b.pending || b.bytes) return;
  b.phase++;
  b.pending = b.arrivals;
  b.passed = b.coming;
  for (Fiber& f : worker->fibers)
    if (f.state == State::InMbarrier && f.mbarrier == address && (b.phase & 1) != f.phase)
      f.state = State::Ready;
}

void mbarrier_init(uint32_t address, unsigned arrivals, std::source_location l) {
  Site site = site_of(l);
  unsigned char* at = shared_pointer(address, 8, site);
  if (checking) check_access(at, 8, Access::Write, site);
  Mbarrier& b = worker->hopper->barriers[address];
  b = {};
  b.arrivals = b.pending = arrivals;
}

void mbarrier_arrive(uint32_t address, unsigned bytes, std::source_location l) {
  Mbarrier& b = barrier_at(address, site_of(l));
  if (!b.pending) fault("more arrivals at an mbarrier than it counts", site_of(l));
  release_to(b.coming, *current);
  current->clock++;
  b.bytes += bytes;
  b.pending--;
  settle(address, b);
}

void mbarrier_wait(uint32_t address, unsigned parity, std::source_location l) {
  Mbarrier& b = barrier_at(address, site_of(l));
  if ((b.phase & 1) == (parity & 1)) {
    current->state = State::InMbarrier;
    current->mbarrier = address;
    current->phase = parity & 1;
    current->what = "mbarrier.wait";
    current->site = site_of(l);
    leave();
  }
  acquire_from(worker->hopper->barriers[address].passed, *current);
}

static size_t box_bytes(const TensorMap& map) {
  size_t bytes = map.element_bytes;
  for (unsigned i = 0; i < map.rank; i++) bytes *= map.box[i];
  return bytes;
}

void tensor_load(uint32_t to, const void* map, uint32_t barrier, const int* coordinates,
                 unsigned rank, std::source_location l) {
  Site site = site_of(l);
  TensorCopy copy{to, barrier, {}, {}, current->linear, site, nullptr};
  memcpy(&copy.map, map, sizeof copy.map);
  if (copy.map.mark != TensorMap::MARK || copy.map.rank != rank)
    fault("a tensor copy by a map that was not encoded, or for another rank", site);
  std::copy(coordinates, coordinates + rank, copy.coordinates);
  size_t bytes = box_bytes(copy.map);
  if (to % (copy.map.swizzle_bytes ? copy.map.swizzle_bytes * 8 : 128))
    fault("a tensor copy to shared memory that is not aligned to its swizzle", site);
  barrier_at(barrier, site);
  unsigned char* target = shared_pointer(to, 16, site);
  shared_pointer(to + (uint32_t)bytes - 16, 16, site);
  if (checking) mark_in_flight(target, bytes, site);
  memset(target, 0xFF, bytes);
  release_to(copy.seen, *current);
  current->clock++;
  worker->hopper->copies.push_back(copy);
}

// One innermost run of the box: zeroes where the tensor ends.
static void copy_run(const TensorCopy& copy, const unsigned* at, uint32_t offset) {
  const TensorMap& map = copy.map;
  bool inside = true;
  uint64_t from = map.address;
  for (unsigned i = 1; i < map.rank; i++) {
    long place = (long)copy.coordinates[i] + at[i];
    inside &= place >= 0 && place < (long)map.sizes[i];
    from += place * map.strides[i - 1];
  }
  for (unsigned e = 0; e < map.box[0]; e++) {
    uint32_t to = copy.to + offset + e * map.element_bytes;
    if (map.swizzle_bytes == 128) to ^= (to >> 7 & 7) << 4;
    unsigned char* target = shared_pointer(to, map.element_bytes, copy.site);
    long place = (long)copy.coordinates[0] + e;
    auto* source = (const unsigned char*)from + place * (long)map.element_bytes;
    if (!inside || place < 0 || place >= (long)map.sizes[0]) {
      memset(target, 0, map.element_bytes);
      continue;
    }
    if (checking) check_access(source, map.element_bytes, Access::Read, copy.site);
    memcpy(target, source, map.element_bytes);
  }
}

static void arrive(const TensorCopy& copy) {
  current = &worker->fibers[copy.thread];
  unsigned at[5] = {};
  const TensorMap& map = copy.map;
  size_t run = (size_t)map.box[0] * map.element_bytes, runs = box_bytes(map) / run;
  if (checking) clear_in_flight(shared_pointer(copy.to, 16, copy.site), run * runs, false);
  for (size_t i = 0; i < runs; i++) {
    copy_run(copy, at, uint32_t(i * run));
    for (unsigned d = 1; d < map.rank && ++at[d] == map.box[d]; d++) at[d] = 0;
  }
  Mbarrier& b = worker->hopper->barriers[copy.barrier];
  Fiber carrier;
  carrier.linear = copy.thread;
  carrier.clock = 0;
  carrier.seen = copy.seen;
  release_to(b.coming, carrier);
  b.bytes -= (long)(run * runs);
  settle(copy.barrier, b);
}

bool advance_hopper(Worker& w) {
  auto& copies = w.hopper->copies;
  if (copies.empty()) return false;
  // Schedules beyond the first two bring the last first.
  size_t i = settings().schedule >= 2 ? copies.size() - 1 : 0;
  TensorCopy copy = copies[i];
  copies.erase(copies.begin() + (ptrdiff_t)i);
  arrive(copy);
  return true;
}

}  // namespace oc

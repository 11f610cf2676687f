// Where threads meet: barriers of the block and collectives of the warp.
#include "memory.hpp"
#include "runtime.hpp"

namespace oc {

void release_barrier(Worker& w, unsigned id) {
  Barrier& b = w.barriers[id];
  b.result = b.sum;
  order_threads(w, b.members);
  for (unsigned member : b.members)
    if (w.fibers[member].state == State::InBarrier) w.fibers[member].state = State::Ready;
  b.members.clear();
  b.arrived = b.expected = 0;
  b.sum = 0;
}

int barrier(unsigned id, unsigned threads, int value, const char* what, Site site) {
  Worker& w = *worker;
  if (id >= 16) fault("a block has 16 barriers, not one of number " + std::to_string(id), site);
  if (threads % 32)
    fault("a barrier's threads are a multiple of 32, not " + std::to_string(threads), site);
  Barrier& b = w.barriers[id];
  if (b.arrived && b.expected != threads)
    fault("barrier " + std::to_string(id) + " is met by " + std::to_string(b.expected) +
              " threads for some and " + std::to_string(threads) + " for others (0: the block)",
          site);
  b.sum += value;
  b.arrived++;
  b.expected = threads;
  b.members.push_back(current->linear);
  current->what = what;
  current->site = site;
  if (b.arrived == (threads ? threads : w.live)) {
    release_barrier(w, id);
    return b.result;
  }
  current->state = State::InBarrier;
  current->barrier = id;
  leave();
  return worker->barriers[id].result;
}

void meet(uint32_t mask, void* arguments, Combine combine, const char* what, Site site,
          bool orders_memory) {
  Worker& w = *worker;
  Fiber& me = *current;
  // In the last warp, a full mask means the lanes that exist.
  unsigned base = me.warp * 32, count = w.threads - base;
  mask &= count >= 32 ? ~0u : (1u << count) - 1;
  if (!(mask >> me.lane & 1))
    fault(std::string(what) + ": the calling lane is not in its mask", site);
  Meeting& m = w.meetings[base + (unsigned)__builtin_ctz(mask)];
  if (m.arrived == 0) {
    m.mask = mask;
    m.what = what;
    m.site = site;
  } else if (m.mask != mask || m.what != what || m.site != site) {
    fault("divergent collective: some lanes are in " + std::string(m.what) + " at " +
              describe(m.site) + ", this one in " + what,
          site);
  }
  m.arguments[me.lane] = arguments;
  m.arrived |= 1u << me.lane;
  me.what = what;
  me.site = site;
  if (m.arrived != mask) {
    me.state = State::InWarp;
    leave();
    return;
  }
  combine(m.arguments, mask);
  m.arrived = 0;
  if (orders_memory) order_lanes(w, base, mask);
  for (unsigned i = 0; i < 32; i++)
    if ((mask >> i & 1) && w.fibers[base + i].state == State::InWarp)
      w.fibers[base + i].state = State::Ready;
}

// Static shared arrays stand behind the window of dynamic ones.
static constexpr uint32_t STATIC_WINDOW = 1u << 20;

uint32_t shared_address(const void* p, Site site) {
  const Worker& w = *worker;
  auto* at = (const unsigned char*)p;
  if (at >= w.shared && at < w.shared + w.shared_size) return uint32_t(at - w.shared);
  if (at >= w.static_shared && at < w.static_shared + w.static_shared_size)
    return STATIC_WINDOW + uint32_t(at - w.static_shared);
  fault("an address that is not in shared memory is taken for one", site);
}

unsigned char* shared_pointer(uint32_t address, unsigned size, Site site) {
  const Worker& w = *worker;
  bool fixed = address >= STATIC_WINDOW;
  size_t at = fixed ? address - STATIC_WINDOW : address;
  size_t end = fixed ? w.static_shared_size : w.shared_size;
  if (at + size > end)
    fault("out of bounds: shared address " + std::to_string(at) + ", of " + std::to_string(size) +
              " bytes, where the block has " + std::to_string(end),
          site);
  unsigned char* p = (fixed ? w.static_shared : w.shared) + at;
  if ((uintptr_t)p % (size < 16 ? size : 16))
    fault("misaligned shared address " + std::to_string(at) + " of " + std::to_string(size) +
              " bytes",
          site);
  return p;
}

}  // namespace oc

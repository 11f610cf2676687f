// Order between the threads of a block: vector clocks, shared by those who met.
#include <algorithm>

#include "memory.hpp"

namespace oc {

static void join(std::vector<uint32_t>& into, const Clocks& from) {
  if (!from) return;
  for (size_t i = 0; i < into.size(); i++) into[i] = std::max(into[i], (*from)[i]);
}

template <class Each>
static void order(Worker& w, const Each& each_member) {
  if (!checking) return;
  std::vector<uint32_t> all(w.threads, 0);
  const void* last = nullptr;
  each_member([&](Fiber& f) {
    if (f.seen.get() != last) join(all, f.seen);
    last = f.seen.get();
    all[f.linear] = std::max(all[f.linear], f.clock);
  });
  auto shared = std::make_shared<const std::vector<uint32_t>>(std::move(all));
  each_member([&](Fiber& f) {
    f.seen = shared;
    f.clock++;
  });
}

void order_threads(Worker& w, const std::vector<unsigned>& members) {
  order(w, [&](auto visit) {
    for (unsigned member : members) visit(w.fibers[member]);
  });
}

void order_lanes(Worker& w, unsigned base, uint32_t mask) {
  order(w, [&](auto visit) {
    for (unsigned i = 0; i < 32; i++)
      if (mask >> i & 1) visit(w.fibers[base + i]);
  });
}

void release_to(Clocks& shared, const Fiber& from) {
  if (!checking) return;
  std::vector<uint32_t> all(worker->threads, 0);
  join(all, shared);
  join(all, from.seen);
  all[from.linear] = std::max(all[from.linear], from.clock);
  shared = std::make_shared<const std::vector<uint32_t>>(std::move(all));
}

void acquire_from(const Clocks& shared, Fiber& to) {
  if (!checking || !shared) return;
  std::vector<uint32_t> all(worker->threads, 0);
  join(all, to.seen);
  join(all, shared);
  to.seen = std::make_shared<const std::vector<uint32_t>>(std::move(all));
}

}  // namespace oc

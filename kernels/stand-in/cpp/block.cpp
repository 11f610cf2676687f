// The scheduler: runs a grid block by block, and the fibers of a block in one of many orders.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "memory.hpp"
#include "runtime.hpp"

namespace oc {

Settings& settings() {
  static Settings it = [] {
    Settings s;
    if (const char* v = getenv("OUTCROP_STAND_IN_SCHEDULE")) s.schedule = atoi(v);
    if (const char* v = getenv("OUTCROP_STAND_IN_THREADS")) s.threads = atoi(v);
    return s;
  }();
  return it;
}

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> it;
  return it;
}

static std::string deadlock(const Worker& w) {
  std::map<std::string, unsigned> waiting;
  for (const Fiber& f : w.fibers)
    if (f.state != State::Done && f.state != State::Ready)
      waiting[std::string(f.what) + " at " + describe(f.site)]++;
  std::string text = "deadlock:";
  for (const auto& [where, count] : waiting)
    text += " " + std::to_string(count) + " threads wait in " + where + ";";
  return text;
}

static void start_block(Worker& w) {
  for (Barrier& b : w.barriers) b = {};
  for (Meeting& m : w.meetings) m.arrived = 0;
  // What nobody has written is not a number.
  memset(w.shared, 0xFF, w.shared_size);
  poison_static_shared(w);
  reset_hopper(w);
  for (unsigned i = 0; i < w.threads; i++) {
    Fiber& f = w.fibers[i];
    f.linear = i;
    f.lane = i % 32;
    f.warp = i / 32;
    f.x = i % w.block.x;
    f.y = i / w.block.x % w.block.y;
    f.z = i / (w.block.x * w.block.y);
    f.state = State::Ready;
    f.groups.clear();
    f.open.clear();
    f.products.assign(1, {});
    f.clock = 1;
    f.seen.reset();
    f.fenced = f.fenced_registers = false;
    init_fiber(w, f);
  }
  w.group_arrived.assign(w.threads / 128 + 1, 0);
  w.live = w.threads;
  start_checks(w);
}

static uint64_t draw(Worker& w) {
  w.random ^= w.random << 13;
  w.random ^= w.random >> 7;
  w.random ^= w.random << 17;
  return w.random;
}

// Runs a warp's ready fibers until none is, or for a few rounds where the schedule pre-empts.
// Returns whether any ran; stops at the first fault.
static bool run_warp(Worker& w, unsigned warp, unsigned schedule) {
  unsigned low = warp * 32, count = std::min(32u, w.threads - low);
  unsigned rounds = schedule >= 2 ? 1 + draw(w) % 3 : ~0u;
  bool ran = false, again = true;
  while (again && rounds--) {
    again = false;
    unsigned turn = schedule >= 2 ? draw(w) % count : 0;
    for (unsigned j = 0; j < count; j++) {
      unsigned lane = schedule == 1 ? count - 1 - j : (j + turn) % count;
      Fiber& f = w.fibers[low + lane];
      if (f.state != State::Ready) continue;
      enter(f);
      again = ran = true;
      if (!w.error.empty()) return true;
    }
  }
  return ran;
}

void run_block(Worker& w) {
  start_block(w);
  unsigned warps = (w.threads + 31) / 32, schedule = settings().schedule;
  while (w.live) {
    bool progress = false;
    unsigned turn = schedule >= 2 ? draw(w) % warps : 0;
    for (unsigned k = 0; k < warps; k++) {
      unsigned warp = schedule == 1 ? warps - 1 - k : (k + turn) % warps;
      progress |= run_warp(w, warp, schedule);
      if (!w.error.empty()) return;
      // Odd schedules let asynchronous copies arrive early, even ones as late as can be.
      if (schedule % 2) progress |= advance_hopper(w);
    }
    // Threads that ended count as arrived.
    for (unsigned id = 0; id < 16; id++) {
      Barrier& b = w.barriers[id];
      if (b.arrived && b.expected == 0 && b.arrived == w.live) {
        release_barrier(w, id);
        progress = true;
      }
    }
    if (!progress) progress = advance_hopper(w);
    if (!w.error.empty()) return;
    if (!progress && w.live) {
      w.error = deadlock(w);
      return;
    }
  }
}

// Workers keep their stacks from launch to launch.
static std::mutex idle_lock;
static std::vector<std::unique_ptr<Worker>> idle;

static std::unique_ptr<Worker> take_worker() {
  std::lock_guard guard(idle_lock);
  if (idle.empty()) return std::make_unique<Worker>();
  auto w = std::move(idle.back());
  idle.pop_back();
  return w;
}

static void prepare(Worker& w, Dim3 grid, Dim3 block, size_t shared) {
  w.grid = grid;
  w.block = block;
  w.threads = block.x * block.y * block.z;
  w.fibers.resize(w.threads);
  w.meetings.resize((w.threads + 31) / 32 * 32);
  w.shared_size = shared;
  w.error.clear();
  w.random = 0x9E3779B97F4A7C15ull * (settings().schedule + 1);
  find_static_shared(w);
}

std::string run_grid(const std::string& kernel, Dim3 grid, Dim3 block, size_t shared,
                     const std::function<void()>& body) {
  uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
  unsigned threads = settings().threads ? settings().threads : std::thread::hardware_concurrency();
  // Checks keep one history of all accesses: one block after the other.
  if (checking || blocks < 4) threads = 1;
  threads = std::clamp<uint64_t>(threads, 1, blocks);
  std::atomic<uint64_t> next{0};
  std::mutex lock;
  std::string error;
  start_launch();
  auto work = [&] {
    auto mine = take_worker();
    Worker& w = *mine;
    Worker* outer = worker;
    worker = &w;
    prepare(w, grid, block, shared);
    w.kernel = &kernel;
    w.body = &body;
    for (uint64_t i; (i = next++) < blocks;) {
      if (settings().schedule % 2) i = blocks - 1 - i;
      w.index = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y),
                 unsigned(i / ((uint64_t)grid.x * grid.y))};
      run_block(w);
      if (w.error.empty()) continue;
      std::lock_guard guard(lock);
      if (error.empty())
        error = "kernel " + kernel + ", block (" + std::to_string(w.index.x) + "," +
                std::to_string(w.index.y) + "," + std::to_string(w.index.z) + "), " + w.error;
      next = blocks;
    }
    worker = outer;
    std::lock_guard guard(idle_lock);
    idle.push_back(std::move(mine));
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; i++) others.emplace_back(work);
  work();
  for (auto& t : others) t.join();
  end_launch();
  return error;
}

}  // namespace oc

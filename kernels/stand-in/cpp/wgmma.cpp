// sm_90's products of a warpgroup, four warps: issued by each thread, done when they are waited for,
// so that what comes too early reads sums that are not there yet, and a tile that is overwritten too
// early gives wrong ones.
#include <cstring>

#include "cuda_on_cpu.hpp"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#include "memory.hpp"
#include "runtime.hpp"

namespace oc {

void group_fence() { current->fenced_registers = true; }

void group_multiply(const GroupProduct& p, std::source_location l) {
  Site site = site_of(l);
  if (!current->fenced_registers) fault("wgmma with no wgmma.fence before it", site);
  Product mine{p.c, p.n, p.a != nullptr, p.b_is_transposed, p.accumulates,
               p.element == Element::Bf16, {}, p.a_tile, p.b_tile, site};
  if (p.a) memcpy(mine.a, p.a, sizeof mine.a);
  current->products.back().push_back(mine);
}

void group_commit() { current->products.emplace_back(); }

// Element (row, k) of a tile in shared memory by its descriptor, swizzled over 128 bytes. A row is one
// of the output's rows or columns; transposed tiles have those side by side, 64 at a time.
static float element(uint64_t tile, unsigned row, unsigned k, bool transposed, bool is_bf16,
                     Site site) {
  if (tile >> 62 != 1) fault("wgmma of a tile that is not swizzled over 128 bytes", site);
  uint32_t start = uint32_t(tile & 0x3fff) << 4, leading = uint32_t(tile >> 16 & 0x3fff) << 4,
           step = uint32_t(tile >> 32 & 0x3fff) << 4;
  uint32_t at = transposed ? start + row % 64 * 2 + row / 64 * leading + k % 8 * 128 + k / 8 * step
                           : start + k * 2 + row % 8 * 128 + row / 8 * step;
  at ^= (at >> 7 & 7) << 4;
  unsigned char* p = shared_pointer(at, 2, site);
  if (checking) check_access(p, 2, Access::Read, site);
  uint16_t bits;
  memcpy(&bits, p, 2);
  return is_bf16 ? __uint_as_float((unsigned)bits << 16) : __half2float({bits});
}

static float half_of(uint32_t word, int high, bool is_bf16) {
  float2 both = is_bf16 ? oc_unpack_bf16(word) : oc_unpack_f16(word);
  return high ? both.y : both.x;
}

// Product `index` of group `group` of the 128 threads from `first` on.
static void compute(Worker& w, unsigned first, size_t group, size_t index) {
  const Product& p = w.fibers[first].products[group][index];
  static thread_local float a[64][16], b[256][16];
  for (unsigned t = 0; t < 128; t++) {
    const auto& theirs = w.fibers[first + t].products[group];
    if (theirs.size() <= index || theirs[index].site != p.site || theirs[index].b_tile != p.b_tile ||
        theirs[index].a_tile != p.a_tile || theirs[index].n != p.n)
      fault("divergent wgmma: threads of a warpgroup differ in what they multiply", p.site);
    unsigned row = t / 32 * 16 + t % 32 / 4, column = t % 4 * 2;
    for (int i = 0; i < 4 && p.has_registers; i++)
      for (int high = 0; high < 2; high++)
        a[row + (i & 1) * 8][column + (i >> 1) * 8 + high] =
            half_of(theirs[index].a[i], high, p.is_bf16);
  }
  for (unsigned r = 0; r < 64 && !p.has_registers; r++)
    for (unsigned k = 0; k < 16; k++) a[r][k] = element(p.a_tile, r, k, false, p.is_bf16, p.site);
  for (unsigned n = 0; n < p.n; n++)
    for (unsigned k = 0; k < 16; k++)
      b[n][k] = element(p.b_tile, n, k, p.b_is_transposed, p.is_bf16, p.site);
  for (unsigned t = 0; t < 128; t++) {
    float* c = w.fibers[first + t].products[group][index].c;
    for (unsigned i = 0; i < p.n / 2; i++) {
      unsigned row = t / 32 * 16 + t % 32 / 4 + (i >> 1 & 1) * 8, n = i / 4 * 8 + t % 4 * 2 + (i & 1);
      float sum = 0.0f;
      for (unsigned k = 0; k < 16; k++) sum += a[row][k] * b[n][k];
      c[i] = p.accumulates ? c[i] + sum : sum;
    }
  }
}

void group_wait(unsigned groups_left, std::source_location l) {
  Worker& w = *worker;
  unsigned group = current->linear / 128, first = group * 128;
  if (first + 128 > w.threads) fault("wgmma in a warpgroup of fewer than 128 threads", site_of(l));
  current->what = "wgmma.wait_group";
  current->site = site_of(l);
  if (++w.group_arrived[group] < 128) {
    current->state = State::InWarp;
    leave();
    return;
  }
  w.group_arrived[group] = 0;
  size_t committed = current->products.size() - 1;
  size_t done = committed > groups_left ? committed - groups_left : 0;
  for (size_t g = 0; g < done; g++)
    for (size_t i = 0; i < current->products[g].size(); i++) compute(w, first, g, i);
  // The tiles were read by the warpgroup as one: each of its threads may say that they are free.
  Clocks reads;
  release_to(reads, *current);
  current->clock++;
  for (unsigned t = first; t < first + 128; t++) {
    Fiber& f = w.fibers[t];
    acquire_from(reads, f);
    if (f.products.size() != committed + 1) fault("divergent wgmma: groups differ", site_of(l));
    f.products.erase(f.products.begin(), f.products.begin() + (ptrdiff_t)done);
    f.fenced_registers = false;
    if (f.state == State::InWarp) f.state = State::Ready;
  }
}

}  // namespace oc

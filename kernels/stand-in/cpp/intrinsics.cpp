// Warp collectives, asynchronous copies and matrix products, on arguments that each lane hands in.
#include "cuda_on_cpu.hpp"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#include <cstring>

#include "memory.hpp"
#include "runtime.hpp"

namespace oc {

uint3 thread_index() { return {current->x, current->y, current->z}; }
uint3 block_index() { return {worker->index.x, worker->index.y, worker->index.z}; }
uint3 block_size() { return {worker->block.x, worker->block.y, worker->block.z}; }
uint3 grid_size() { return {worker->grid.x, worker->grid.y, worker->grid.z}; }
unsigned char* dynamic_shared() { return worker->shared; }
uint32_t shared_address_of(const void* p, std::source_location l) {
  return shared_address(p, site_of(l));
}

void sync_threads(unsigned id, unsigned threads, const char* what, std::source_location l) {
  barrier(id, threads, 0, what, site_of(l));
}
int sync_threads_sum(int value, const char* what, std::source_location l) {
  return barrier(0, 0, value, what, site_of(l));
}
void sync_warp(uint32_t mask, std::source_location l) {
  meet(mask, nullptr, [](void* const*, uint32_t) {}, "__syncwarp", site_of(l), true);
}

namespace {
struct ShuffleArguments {
  uint64_t bits, result;
  Shuffle kind;
  int argument, width;
};
struct WordArguments {
  uint64_t value;
  uint32_t result;
  Reduce kind;
};
struct MatrixArguments {
  uint32_t* out;
  uint32_t address;
  bool transposed;
  Site site;
};
struct MultiplyArguments {
  void* c;
  const uint32_t *a, *b;
};
}  // namespace

static int shuffle_source(const ShuffleArguments& s, int lane) {
  int first = lane & ~(s.width - 1), from;
  switch (s.kind) {
    case Shuffle::To:
      return first | (s.argument & (s.width - 1));
    case Shuffle::Xor:
      from = lane ^ s.argument;
      return from >= first + s.width ? lane : from;
    case Shuffle::Down:
      from = lane + s.argument;
      return from >= first + s.width ? lane : from;
    default:
      from = lane - s.argument;
      return from < first ? lane : from;
  }
}

uint64_t shuffle(uint32_t mask, uint64_t bits, Shuffle kind, int argument, int width,
                 std::source_location l) {
  static const char* const names[] = {"__shfl_sync", "__shfl_xor_sync", "__shfl_down_sync",
                                      "__shfl_up_sync"};
  ShuffleArguments mine{bits, 0, kind, argument, width};
  meet(
      mask, &mine,
      [](void* const* all, uint32_t lanes) {
        for (int i = 0; i < 32; i++) {
          if (!(lanes >> i & 1)) continue;
          auto& s = *(ShuffleArguments*)all[i];
          int from = shuffle_source(s, i);
          // A lane that does not take part hands over nothing that could be relied on.
          s.result = lanes >> from & 1 ? ((ShuffleArguments*)all[from])->bits : ~0ull;
        }
      },
      names[(int)kind], site_of(l));
  return mine.result;
}

uint32_t ballot(uint32_t mask, int predicate, std::source_location l) {
  WordArguments mine{predicate != 0, 0, Reduce::Add};
  meet(
      mask, &mine,
      [](void* const* all, uint32_t lanes) {
        uint32_t votes = 0;
        for (int i = 0; i < 32; i++)
          if ((lanes >> i & 1) && ((WordArguments*)all[i])->value) votes |= 1u << i;
        for (int i = 0; i < 32; i++)
          if (lanes >> i & 1) ((WordArguments*)all[i])->result = votes;
      },
      "a vote", site_of(l));
  return mine.result;
}

uint32_t match_any(uint32_t mask, uint64_t value, std::source_location l) {
  WordArguments mine{value, 0, Reduce::Add};
  meet(
      mask, &mine,
      [](void* const* all, uint32_t lanes) {
        for (int i = 0; i < 32; i++) {
          if (!(lanes >> i & 1)) continue;
          auto& own = *(WordArguments*)all[i];
          own.result = 0;
          for (int j = 0; j < 32; j++)
            if ((lanes >> j & 1) && ((WordArguments*)all[j])->value == own.value)
              own.result |= 1u << j;
        }
      },
      "__match_any_sync", site_of(l));
  return mine.result;
}

static uint32_t combine_words(Reduce kind, uint32_t a, uint32_t b) {
  switch (kind) {
    case Reduce::Add: return a + b;
    case Reduce::Min: return a < b ? a : b;
    case Reduce::Max: return a > b ? a : b;
    case Reduce::MinSigned: return (int32_t)a < (int32_t)b ? a : b;
    case Reduce::MaxSigned: return (int32_t)a > (int32_t)b ? a : b;
    case Reduce::And: return a & b;
    case Reduce::Or: return a | b;
    default: return a ^ b;
  }
}

uint32_t reduce(uint32_t mask, uint32_t value, Reduce kind, std::source_location l) {
  WordArguments mine{value, 0, kind};
  meet(
      mask, &mine,
      [](void* const* all, uint32_t lanes) {
        bool first = true;
        uint32_t result = 0;
        for (int i = 0; i < 32; i++) {
          if (!(lanes >> i & 1)) continue;
          auto& one = *(WordArguments*)all[i];
          result = first ? (uint32_t)one.value
                         : combine_words(one.kind, result, (uint32_t)one.value);
          first = false;
        }
        for (int i = 0; i < 32; i++)
          if (lanes >> i & 1) ((WordArguments*)all[i])->result = result;
      },
      "a reduction", site_of(l));
  return mine.result;
}

void fence() { current->fenced = true; }

void atomic_access(void* p, unsigned size, std::source_location l) {
  if (!checking) return;
  check_access(p, size, Access::Atomic, site_of(l));
  order_blocks(p, current->fenced);
}

// ---- copies behind the thread's back: the bytes are nobody's until the wait, then they are there

void copy_async(uint32_t to, const void* from, unsigned size, bool valid, std::source_location l) {
  Site site = site_of(l);
  unsigned char* target = shared_pointer(to, size, site);
  if ((uintptr_t)from % size) fault("cp.async: misaligned source", site);
  if (checking) {
    if (valid) check_access(from, size, Access::Read, site);
    mark_in_flight(target, size, site);
  }
  memset(target, 0xFF, size);
  current->open.push_back({target, from, size, !valid, site});
}

void copy_async_commit() {
  current->groups.push_back(std::move(current->open));
  current->open.clear();
}

void copy_async_wait(unsigned groups_left) {
  auto& groups = current->groups;
  size_t count = groups.size() > groups_left ? groups.size() - groups_left : 0;
  for (size_t i = 0; i < count; i++)
    for (const PendingCopy& copy : groups[i]) {
      if (copy.zeroes) memset(copy.to, 0, copy.size);
      else memcpy(copy.to, copy.from, copy.size);
      if (checking) clear_in_flight(copy.to, copy.size, true);
    }
  groups.erase(groups.begin(), groups.begin() + (ptrdiff_t)count);
}

// ---- matrices

void load_matrices(uint32_t* out, uint32_t address, bool transposed, std::source_location l) {
  MatrixArguments mine{out, address, transposed, site_of(l)};
  // Each lane's row is read by that lane, before they meet.
  const unsigned char* row = shared_pointer(address, 16, mine.site);
  if (checking) check_access(row, 16, Access::Read, mine.site);
  meet(
      ~0u, &mine,
      [](void* const* all, uint32_t) {
        for (int m = 0; m < 4; m++) {
          uint16_t rows[8][8];
          for (int i = 0; i < 8; i++) {
            auto& lane = *(MatrixArguments*)all[m * 8 + i];
            memcpy(rows[i], shared_pointer(lane.address, 16, lane.site), 16);
          }
          for (int t = 0; t < 32; t++) {
            auto& lane = *(MatrixArguments*)all[t];
            int a = t / 4, b = t % 4 * 2;
            uint32_t low = lane.transposed ? rows[b][a] : rows[a][b];
            uint32_t high = lane.transposed ? rows[b + 1][a] : rows[a][b + 1];
            lane.out[m] = low | high << 16;
          }
        }
      },
      transposed ? "ldmatrix.trans" : "ldmatrix", mine.site);
}

static float low_of(Element e, uint32_t w) {
  return e == Element::Bf16 ? __uint_as_float(w << 16) : oc_unpack_f16(w).x;
}
static float high_of(Element e, uint32_t w) {
  return e == Element::Bf16 ? __uint_as_float(w & 0xffff0000u) : oc_unpack_f16(w).y;
}

template <Element E>
static void multiply_floats(void* const* all, uint32_t) {
  float a[16][16], b[16][8], d[16][8] = {};
  for (int t = 0; t < 32; t++) {
    auto& lane = *(MultiplyArguments*)all[t];
    int g = t / 4, q = t % 4 * 2;
    for (int i = 0; i < 4; i++) {
      int row = g + (i & 1) * 8, k = q + (i >> 1) * 8;
      a[row][k] = low_of(E, lane.a[i]);
      a[row][k + 1] = high_of(E, lane.a[i]);
    }
    for (int i = 0; i < 2; i++) {
      b[q + i * 8][g] = low_of(E, lane.b[i]);
      b[q + i * 8 + 1][g] = high_of(E, lane.b[i]);
    }
  }
  for (int r = 0; r < 16; r++)
    for (int k = 0; k < 16; k++)
      for (int n = 0; n < 8; n++) d[r][n] += a[r][k] * b[k][n];
  for (int t = 0; t < 32; t++) {
    auto* c = (float*)((MultiplyArguments*)all[t])->c;
    for (int i = 0; i < 4; i++) c[i] += d[t / 4 + (i >> 1) * 8][t % 4 * 2 + (i & 1)];
  }
}

static void multiply_bytes(void* const* all, uint32_t) {
  int8_t a[16][32], b[8][32];
  for (int t = 0; t < 32; t++) {
    auto& lane = *(MultiplyArguments*)all[t];
    int g = t / 4, q = t % 4 * 4;
    for (int i = 0; i < 4; i++) memcpy(&a[g + (i & 1) * 8][q + (i >> 1) * 16], &lane.a[i], 4);
    for (int i = 0; i < 2; i++) memcpy(&b[g][q + i * 16], &lane.b[i], 4);
  }
  for (int t = 0; t < 32; t++) {
    auto* c = (int*)((MultiplyArguments*)all[t])->c;
    for (int i = 0; i < 4; i++) {
      int row = t / 4 + (i >> 1) * 8, column = t % 4 * 2 + (i & 1);
      for (int k = 0; k < 32; k++) c[i] += (int)a[row][k] * b[column][k];
    }
  }
}

void multiply(void* c, const uint32_t* a, const uint32_t* b, Element element,
              std::source_location l) {
  MultiplyArguments mine{c, a, b};
  static const Combine combine[] = {multiply_floats<Element::Bf16>, multiply_floats<Element::F16>,
                                    multiply_bytes};
  meet(~0u, &mine, combine[(int)element], "mma.sync", site_of(l));
}

// ---- E4M3: four bits of exponent (bias 7), three of fraction, no infinity

uint32_t e4m3x2_to_f16(uint16_t pair) {
  auto one = [](unsigned byte) -> uint32_t {
    unsigned sign = (byte & 0x80) << 8, rest = byte & 0x7f;
    if (rest == 0x7f) return sign | 0x7fff;
    int exponent = (int)rest >> 3;
    float value = exponent ? ldexpf(8.0f + (rest & 7), exponent - 10) : ldexpf(rest & 7, -9);
    return sign | __float2half(value).bits;
  };
  return one(pair & 0xff) | one(pair >> 8) << 16;
}

uint8_t f32_to_e4m3(float x) {
  if (x != x) return 0x7f;
  uint8_t sign = std::signbit(x) ? 0x80 : 0;
  float size = std::fabs(x);
  if (size >= 448.0f) return sign | 0x7e;
  int exponent = 0;
  std::frexp(size, &exponent);
  exponent = exponent - 1 < -6 ? -6 : exponent - 1;
  int steps = (int)std::nearbyint(std::ldexp(size, 3 - exponent));
  // 8 to 15 steps are normal; a carry to 16 is the next exponent's 8.
  if (steps == 16) {
    steps = 8;
    exponent++;
  }
  if (steps < 8) return sign | (uint8_t)steps;
  return sign | (uint8_t)((exponent + 7) << 3 | (steps - 8));
}

void register_kernel(const char* name, const char* file, void (*call)(void**),
                     std::vector<size_t> sizes) {
  std::string base = file;
  base = base.substr(base.rfind('/') + 1);
  kernels()[name] = {base.substr(0, base.rfind('.')), call, std::move(sizes)};
}

}  // namespace oc

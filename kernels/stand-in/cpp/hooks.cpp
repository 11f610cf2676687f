// What the compiler's instrumentation calls before each access of a kernel, and how a code address
// becomes a file and a line.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>

#include "memory.hpp"

#define HOOK extern "C" __attribute__((visibility("hidden")))
#define HERE oc::site_of_code(__builtin_return_address(0))

static inline void check(void* p, size_t size, oc::Access access, oc::Site site) {
  if (oc::checking && oc::current) oc::check_access(p, size, access, site);
}

#define PAIR(N)                                                                          \
  HOOK void __tsan_read##N(void* p) { check(p, N, oc::Access::Read, HERE); }             \
  HOOK void __tsan_write##N(void* p) { check(p, N, oc::Access::Write, HERE); }           \
  HOOK void __tsan_unaligned_read##N(void* p) { check(p, N, oc::Access::Read, HERE); }   \
  HOOK void __tsan_unaligned_write##N(void* p) { check(p, N, oc::Access::Write, HERE); } \
  HOOK void __tsan_volatile_read##N(void* p) { check(p, N, oc::Access::Read, HERE); }    \
  HOOK void __tsan_volatile_write##N(void* p) { check(p, N, oc::Access::Write, HERE); }
PAIR(1)
PAIR(2)
PAIR(4)
PAIR(8)
PAIR(16)

HOOK void __tsan_read_range(void* p, size_t n) { check(p, n, oc::Access::Read, HERE); }
HOOK void __tsan_write_range(void* p, size_t n) { check(p, n, oc::Access::Write, HERE); }
HOOK void __tsan_init() {}
HOOK void __tsan_func_entry(void*) {}
HOOK void __tsan_func_exit() {}

// Undefined arithmetic and misaligned pointers.
static void report(const char* message, oc::Site site) {
  if (oc::current) oc::fault(message, site);
}
#define UNDEFINED(name, message) \
  HOOK void __ubsan_handle_##name(void*) { report(message, HERE); }
UNDEFINED(type_mismatch_v1, "misaligned pointer")
UNDEFINED(out_of_bounds, "out of bounds: an index beyond its array")
UNDEFINED(shift_out_of_bounds, "a shift by more than the word has bits, or by less than none")
UNDEFINED(add_overflow, "a signed sum that overflows")
UNDEFINED(sub_overflow, "a signed difference that overflows")
UNDEFINED(mul_overflow, "a signed product that overflows")
UNDEFINED(negate_overflow, "a negation that overflows")
UNDEFINED(divrem_overflow, "a division by zero, or one that overflows")

namespace oc {

static std::string of_location(Site site) {
  auto where = __builtin_bit_cast(std::source_location, site);
  return std::string(where.file_name()) + ":" + std::to_string(where.line());
}

// Asks addr2line for the call chain and names the first place outside the stand-in itself.
std::string describe(Site site) {
  if (!(site & CODE_ADDRESS)) return of_location(site);
  auto* address = (const char*)(site & ~CODE_ADDRESS);
  Dl_info info;
  if (!dladdr(address, &info)) return "an unknown place";
  char command[4096], line[4096];
  // One byte back: the address is that behind the call.
  size_t offset = address - (const char*)info.dli_fbase - 1;
  snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%zx", info.dli_fname, offset);
  std::string found;
  if (FILE* pipe = popen(command, "r")) {
    while (fgets(line, sizeof line, pipe)) {
      if (char* end = strpbrk(line, " \n")) *end = 0;
      if (found.empty() || strstr(found.c_str(), ".hpp")) found = line;
    }
    pclose(pipe);
  }
  if (found.starts_with("./")) found.erase(0, 2);
  if (!found.empty() && found[0] != '?') return found;
  snprintf(line, sizeof line, "code offset 0x%zx (no addr2line to name the line)", offset);
  return line;
}

}  // namespace oc

// This library in memory. Static shared arrays are thread-local, so the thread's block of it is a
// block's static shared memory.
#include <link.h>

#include <algorithm>
#include <cstring>

#include "memory.hpp"

namespace oc {

struct Image {
  uintptr_t base = 0, end = 0;
  void* tls = nullptr;
  size_t tls_size = 0;
};

static int visit_image(dl_phdr_info* info, size_t, void* data) {
  auto* image = (Image*)data;
  Image here;
  here.base = info->dlpi_addr;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type == PT_LOAD)
      here.end = std::max(here.end, info->dlpi_addr + header.p_vaddr + header.p_memsz);
    if (header.p_type == PT_TLS) here.tls_size = header.p_memsz;
  }
  auto self = (uintptr_t)&visit_image;
  if (self < here.base || self >= here.end) return 0;
  here.tls = info->dlpi_tls_data;
  *image = here;
  return 1;
}

static Image find_image() {
  Image image;
  dl_iterate_phdr(visit_image, &image);
  return image;
}

bool in_library(uintptr_t at) {
  static const Image image = find_image();
  return at >= image.base && at < image.end;
}

void find_static_shared(Worker& w) {
  worker = &w;  // touches the block, so that it is there to be found
  Image image = find_image();
  w.static_shared = (unsigned char*)image.tls;
  w.static_shared_size = image.tls_size;
}

void poison_static_shared(Worker& w) {
  memset(w.static_shared, 0xFF, w.static_shared_size);
  worker = &w;
  current = nullptr;
}

}  // namespace oc

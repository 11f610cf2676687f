// A stand-in for libcuda: modules, launches, graphs, and what tests set and read.
#include <cstdlib>
#include <cstring>

#include "driver.hpp"

namespace oc {

struct Module {
  // The file whose kernels it holds; empty for a real image, which may hold any.
  std::string file;
};

struct Function {
  std::string name;
  const Kernel* kernel;
  int dynamic_limit = 48 << 10;
};

struct Graph {
  std::vector<Step> steps;
};

static std::mutex lock;
static std::map<std::string, std::unique_ptr<Function>> functions;
static size_t launches = 0;

static constexpr char MARK[] = "// outcrop stand-in image of ";

// An image is a cubin, a fatbin, PTX, or one of ours that only names its file.
static int read_image(const void* image, Module& module) {
  uint32_t word;
  memcpy(&word, image, 4);
  auto* text = (const char*)image;
  if (!strncmp(text, MARK, sizeof MARK - 1)) {
    const char* from = text + sizeof MARK - 1;
    module.file.assign(from, strcspn(from, "\n"));
    return OK;
  }
  bool known = word == 0x464c457f || word == 0xBA55ED50 || !strncmp(text, "//", 2) ||
               !strncmp(text, ".version", 8);
  return known ? OK : INVALID_IMAGE;
}

// Arguments as the call had them, each aligned as any type of a kernel may ask.
struct Arguments {
  static constexpr size_t ALIGNED = 128;
  std::shared_ptr<char> bytes;
  std::vector<size_t> at;

  Arguments(void** from, const std::vector<size_t>& sizes) {
    size_t end = 0;
    for (size_t size : sizes) {
      at.push_back(end);
      end += (size + ALIGNED - 1) / ALIGNED * ALIGNED;
    }
    bytes.reset((char*)aligned_alloc(ALIGNED, end + ALIGNED), free);
    for (size_t i = 0; i < sizes.size(); i++) memcpy(bytes.get() + at[i], from[i], sizes[i]);
  }
};

static int launch(const Function& f, Dim3 grid, Dim3 block, size_t shared,
                  const Arguments& arguments) {
  std::vector<void*> pointers;
  for (size_t at : arguments.at) pointers.push_back(arguments.bytes.get() + at);
  auto call = f.kernel->call;
  std::function<void()> body = [&] { call(pointers.data()); };
  std::string report = run_grid(f.name, grid, block, shared, body);
  if (report.empty()) return OK;
  std::lock_guard guard(lock);
  last_report = report;
  return sticky = LAUNCH_FAILED;
}

}  // namespace oc

using namespace oc;

CU cuModuleLoadData(void** m, const void* image) {
  auto made = std::make_unique<Module>();
  if (sticky) return sticky;
  if (int r = read_image(image, *made)) return r;
  return *m = made.release(), OK;
}
CU cuModuleLoadDataEx(void** m, const void* image, unsigned, void*, void*) {
  return cuModuleLoadData(m, image);
}
CU cuModuleUnload(void* m) { return delete (Module*)m, OK; }
CU cuModuleGetFunction(void** f, void* m, const char* name) {
  auto found = kernels().find(name);
  auto& file = ((Module*)m)->file;
  if (found == kernels().end() || (!file.empty() && file != found->second.file)) return NOT_FOUND;
  std::lock_guard guard(lock);
  auto& function = functions[name];
  if (!function) function.reset(new Function{name, &found->second});
  return *f = function.get(), OK;
}
CU cuFuncSetAttribute(void* f, int which, int value) {
  if (which != 8) return OK;
  if (value > (int)Worker::SHARED) return INVALID_VALUE;
  return ((Function*)f)->dynamic_limit = value, OK;
}
CU cuFuncGetAttribute(int* v, int which, void* f) {
  *v = which == 0 ? 1024 : which == 4 ? 32 : which == 8 ? ((Function*)f)->dynamic_limit : 0;
  return OK;
}
CU cuFuncSetCacheConfig(void*, int) { return OK; }
CU cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, void*, int, size_t) { return *n = 2, OK; }
CU cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, void*, int, size_t, unsigned) {
  return *n = 2, OK;
}

CU cuLaunchKernel(void* fp, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                  unsigned bz, unsigned shared, void* stream, void** arguments, void**) {
  auto& f = *(Function*)fp;
  uint64_t threads = (uint64_t)bx * by * bz;
  if ((int)shared > f.dynamic_limit || !gx || !gy || !gz || gy > 65535 || gz > 65535 ||
      gx > 2147483647u || threads > 1024 || !threads || bz > 64)
    return INVALID_VALUE;
  // The driver copies the arguments at the call.
  Arguments values(arguments, f.kernel->sizes);
  launches++;
  return run_step(stream, [&f, gx, gy, gz, bx, by, bz, shared, values] {
    return launch(f, {gx, gy, gz}, {bx, by, bz}, shared, values);
  });
}

// A CUlaunchConfig, as far as it is read.
struct LaunchConfig {
  unsigned gx, gy, gz, bx, by, bz, shared;
  void* stream;
  void* attributes;
  unsigned attribute_count;
};
CU cuLaunchKernelEx(const LaunchConfig* c, void* f, void** arguments, void** extra) {
  return cuLaunchKernel(f, c->gx, c->gy, c->gz, c->bx, c->by, c->bz, c->shared, c->stream,
                        arguments, extra);
}

// ---- graphs: steps kept while a stream is captured, run in their order

CU cuStreamBeginCapture_v2(void* s, int) {
  if (stream_of(s).capture) return ILLEGAL_STATE;
  return stream_of(s).capture = new std::vector<Step>, sticky;
}
CU cuStreamIsCapturing(void* s, int* v) { return *v = stream_of(s).capture ? 1 : 0, OK; }
CU cuStreamEndCapture(void* s, void** graph) {
  Stream& stream = stream_of(s);
  if (!stream.capture) return CAPTURE_INVALIDATED;
  *graph = new Graph{std::move(*stream.capture)};
  delete stream.capture;
  stream.capture = nullptr;
  return OK;
}
CU cuGraphInstantiateWithFlags(void** e, void* g, unsigned long long) {
  return *e = new Graph(*(Graph*)g), OK;
}
CU cuGraphDestroy(void* g) { return delete (Graph*)g, OK; }
CU cuGraphExecDestroy(void* e) { return delete (Graph*)e, OK; }
CU cuGraphUpload(void*, void*) { return sticky; }
CU cuGraphGetNodes(void* g, void**, size_t* n) { return *n = ((Graph*)g)->steps.size(), OK; }
CU cuGraphLaunch(void* e, void*) {
  if (sticky) return sticky;
  for (auto& step : ((Graph*)e)->steps)
    if (int r = step()) return r;
  return OK;
}

// ---- for tests: see src/lib.rs

extern "C" __attribute__((visibility("default"))) void outcrop_stand_in_device(
    int count, int capability, int driver, size_t memory) {
  device = {count, capability, driver, memory};
}
extern "C" __attribute__((visibility("default"))) void outcrop_stand_in_schedule(unsigned schedule,
                                                                                 bool checks) {
  settings().schedule = schedule;
  checking = checks;
}
// Copies the report of the last fault and forgets it, the context's failure with it.
extern "C" __attribute__((visibility("default"))) size_t outcrop_stand_in_take_report(char* to,
                                                                                      size_t room) {
  std::lock_guard guard(lock);
  size_t size = last_report.size();
  if (size + 1 <= room) memcpy(to, last_report.c_str(), size + 1);
  last_report.clear();
  sticky = OK;
  return size;
}
// Fails every further call, as a device that was lost does, until the report is taken.
extern "C" __attribute__((visibility("default"))) void outcrop_stand_in_lose_device() {
  last_report = "the device was lost";
  sticky = LAUNCH_FAILED;
}
extern "C" __attribute__((visibility("default"))) size_t outcrop_stand_in_launches() {
  return launches;
}
// The names of all kernels, a line each.
extern "C" __attribute__((visibility("default"))) const char* outcrop_stand_in_kernels() {
  static std::string names;
  names.clear();
  for (const auto& [name, kernel] : kernels()) names += kernel.file + " " + name + "\n";
  return names.c_str();
}

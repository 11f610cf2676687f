// What the files of the stand-in driver share.
#pragma once
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "memory.hpp"
#include "runtime.hpp"

#define CU extern "C" __attribute__((visibility("default"))) int

namespace oc {

// The driver's result codes that occur here.
enum Result {
  OK = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  ILLEGAL_STATE = 401,
  NOT_FOUND = 500,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  NOT_SUPPORTED = 801,
};

// What tests make of the device.
struct Device {
  int count = 1, capability = 80, driver = 13000;
  size_t memory = size_t(8) << 30;
};
extern Device device;

// After a kernel failed, every call fails with this, as on a real device.
extern int sticky;
extern std::string last_report;

using Step = std::function<int()>;
struct Stream {
  std::vector<Step>* capture = nullptr;
};
Stream& stream_of(void* handle);
// Runs a step, or keeps it where the stream is being captured.
int run_step(void* stream, Step step);

}  // namespace oc

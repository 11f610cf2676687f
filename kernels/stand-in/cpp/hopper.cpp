// Copies and products that run beside the threads on sm_90.
#include "runtime.hpp"

namespace oc {

bool advance_hopper(Worker&) { return false; }
void reset_hopper(Worker&) {}

}  // namespace oc

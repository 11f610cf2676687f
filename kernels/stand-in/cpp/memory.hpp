// What is checked of memory: see memory.cpp.
#pragma once
#include "runtime.hpp"

namespace oc {

enum class Access : uint8_t { Read, Write, Atomic };

// Checks an access of the current thread; faults where it breaks a rule.
void check_access(const void* address, size_t size, Access access, Site site);
// Bytes that an asynchronous copy is about to write: nobody may touch them until it arrives.
void mark_in_flight(const void* address, size_t size, Site site);
void clear_in_flight(const void* address, size_t size, bool by_wait);

// Order between threads of a block.
void order_threads(Worker& w, const std::vector<unsigned>& members);
void order_lanes(Worker& w, unsigned base, uint32_t mask);
// A release and an acquire through something that threads share, such as an mbarrier.
void release_to(Clocks& shared, const Fiber& from);
void acquire_from(const Clocks& shared, Fiber& to);
// Order between blocks, through an atomic of global memory.
void order_blocks(const void* address, bool released);

// Whether an address is of this library: a constant, for one.
bool in_library(uintptr_t at);
void find_static_shared(Worker& w);
void poison_static_shared(Worker& w);
void start_launch();
void end_launch();
void start_checks(Worker& w);

// Device allocations, as the driver makes them.
void add_allocation(void* at, size_t size);
bool remove_allocation(void* at);
// Bytes that the host wrote.
void mark_written(const void* at, size_t size);
// Whether the range lies within one allocation.
bool is_allocated(const void* at, size_t size);
size_t allocated_bytes();

}  // namespace oc

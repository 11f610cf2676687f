// Fibers: a stack each, and a switch that saves what the calling convention asks a callee to keep.
#include <sys/mman.h>

#include <cstring>
#include <new>

#include "runtime.hpp"

extern "C" void oc_switch(void** save, void* load);
#if defined(__x86_64__)
asm(".text\n.globl oc_switch\n.hidden oc_switch\n.type oc_switch,@function\noc_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
    ".size oc_switch,.-oc_switch\n");
#elif defined(__aarch64__)
asm(".text\n.globl oc_switch\n.hidden oc_switch\n.type oc_switch,%function\noc_switch:\n"
    "sub sp,sp,#160\nstp x19,x20,[sp,#0]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\n"
    "stp x25,x26,[sp,#48]\nstp x27,x28,[sp,#64]\nstp x29,x30,[sp,#80]\nstp d8,d9,[sp,#96]\n"
    "stp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\n"
    "mov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
    "ldp x19,x20,[sp,#0]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\n"
    "ldp x27,x28,[sp,#64]\nldp x29,x30,[sp,#80]\nldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\n"
    "ldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\nadd sp,sp,#160\nret\n"
    ".size oc_switch,.-oc_switch\n");
#else
#error "the stand-in switches fibers on x86-64 and aarch64 only"
#endif

namespace oc {

thread_local Worker* worker = nullptr;
thread_local Fiber* current = nullptr;

static constexpr size_t PAGE = 4096;

static void fiber_main() {
  (*worker->body)();
  current->open.clear();
  current->groups.clear();
  current->state = State::Done;
  worker->live--;
  leave();
  __builtin_trap();
}

Worker::Worker() {
  shared = (unsigned char*)mmap(nullptr, 256 << 10, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::bad_alloc();
}

Worker::~Worker() {
  if (stacks) munmap(stacks, stack_count * STACK);
  munmap(shared, 256 << 10);
}

// The lowest page of each stack is kept out of reach: a kernel that needs more stops there.
static void make_stacks(Worker& w) {
  if (w.stack_count >= w.threads) return;
  if (w.stacks) munmap(w.stacks, w.stack_count * Worker::STACK);
  w.stack_count = w.threads;
  void* at = mmap(nullptr, w.stack_count * Worker::STACK, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  w.stacks = (char*)at;
  for (size_t i = 0; i < w.stack_count; i++) mprotect(w.stacks + i * Worker::STACK, PAGE, PROT_NONE);
}

void init_fiber(Worker& w, Fiber& f) {
  make_stacks(w);
  // Coloured: stacks that start at one offset of their pages would share cache sets.
  size_t size = Worker::STACK - (f.linear & 127) * 448;
  uintptr_t top = (uintptr_t)(w.stacks + f.linear * Worker::STACK + size) & ~(uintptr_t)15;
#if defined(__x86_64__)
  void** p = (void**)top;
  *--p = nullptr;
  *--p = (void*)fiber_main;
  for (int i = 0; i < 6; i++) *--p = nullptr;
#else
  void** p = (void**)(top - 160);
  memset(p, 0, 160);
  p[11] = (void*)fiber_main;
#endif
  f.stack_pointer = p;
}

void leave() { oc_switch(&current->stack_pointer, worker->main_stack_pointer); }

void enter(Fiber& f) {
  current = &f;
  oc_switch(&worker->main_stack_pointer, f.stack_pointer);
}

void fault(const std::string& message, Site site) {
  const Fiber& f = *current;
  worker->error = "thread (" + std::to_string(f.x) + "," + std::to_string(f.y) + "," +
                  std::to_string(f.z) + "): " + message + " at " + describe(site);
  leave();
  __builtin_trap();
}

}  // namespace oc

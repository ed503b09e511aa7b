// A fiber: a function with a stack of its own that runs until it hands control back.
// The switch is ten instructions on x86-64 (the registers a function must preserve, then the stack pointer); other
// machines take the C library's ucontext, which is slower by two system calls a switch.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace on_cpu {

// Stacks for fibers, each above a page that faults, so that an overflow is a crash and not a wrong number.
class Stacks {
 public:
  static constexpr size_t SIZE = 128 << 10;

  char* top(size_t index) {
    if (!base_) {
      base_ = static_cast<char*>(
          mmap(nullptr, COUNT * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
      if (base_ == MAP_FAILED) abort();
    }
    for (; guarded_ <= index; guarded_++) mprotect(base_ + guarded_ * SIZE, getpagesize(), PROT_NONE);
    return base_ + (index + 1) * SIZE;
  }

 private:
  static constexpr size_t COUNT = 2 * 1024;  // two blocks of a cluster
  char* base_ = nullptr;
  size_t guarded_ = 0;
};

#ifdef __x86_64__
extern "C" void on_cpu_switch(void** save, void* to);
asm(R"(
.text
.weak on_cpu_switch
.hidden on_cpu_switch
.type on_cpu_switch, @function
on_cpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

class Fiber {
 public:
  void start(char* stack_top, void (*body)()) {
    void** top = reinterpret_cast<void**>(stack_top) - 2;  // 16-byte aligned, and what body would return to
    top[0] = reinterpret_cast<void*>(body);
    stack_ = top - 6;  // the six registers that the first switch pops
  }
  void resume() { on_cpu_switch(&caller_, stack_); }
  void suspend() { on_cpu_switch(&stack_, caller_); }

 private:
  void* stack_ = nullptr;
  void* caller_ = nullptr;
};
#else
class Fiber {
 public:
  void start(char* stack_top, void (*body)()) {
    getcontext(&inside_);
    inside_.uc_stack.ss_size = Stacks::SIZE - getpagesize();
    inside_.uc_stack.ss_sp = stack_top - inside_.uc_stack.ss_size;
    inside_.uc_link = nullptr;
    makecontext(&inside_, body, 0);
  }
  void resume() { swapcontext(&outside_, &inside_); }
  void suspend() { swapcontext(&inside_, &outside_); }

 private:
  ucontext_t inside_, outside_;
};
#endif

}  // namespace on_cpu

// cp.async (sm_80): 16 or 4 bytes from global to shared memory without registers, while the thread continues.
// PTX ISA, "Data Movement and Conversion Instructions: cp.async".
#pragma once
#include "common/ptx/shared.cuh"

// Copy the first `valid` of 16 bytes and zeros after them; both addresses are multiples of 16.
__device__ __forceinline__ void copy16_async(void* to, const void* from, int valid) {
#ifdef CUDA_ON_CPU
  on_cpu::block.start_copy(to, from, 16, valid);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid)
               : "memory");
#endif
}

// Copy 4 bytes; both addresses are multiples of 4.
__device__ __forceinline__ void copy4_async(void* to, const void* from) {
#ifdef CUDA_ON_CPU
  on_cpu::block.start_copy(to, from, 4, 4);
#else
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to)), "l"(from) : "memory");
#endif
}

// Close this thread's group of copies; an empty group counts too.
__device__ __forceinline__ void copy_commit() {
#ifdef CUDA_ON_CPU
  on_cpu::block.commit_copies();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait until at most PENDING of this thread's newest groups are under way. Other threads see the bytes after a barrier.
template <int PENDING>
__device__ __forceinline__ void copy_wait() {
#ifdef CUDA_ON_CPU
  on_cpu::block.wait_copies(PENDING);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

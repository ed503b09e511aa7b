// Named barriers: some warps of a block meet, the others do not. Each of the 16 barriers of a block counts threads, in
// whole warps; number 0 is that of __syncthreads. PTX ISA, "bar, barrier".
#pragma once

// Meet: wait until COUNT threads have arrived at barrier `name`, this one included.
template <int COUNT>
__device__ __forceinline__ void named_barrier_wait(int name) {
  static_assert(COUNT % 32 == 0 && COUNT > 0 && COUNT <= 1024, "whole warps");
#ifdef CUDA_ON_CPU
  on_cpu::block.named_barrier(name, COUNT, true);
#else
  asm volatile("bar.sync %0, %1;" ::"r"(name), "n"(COUNT) : "memory");
#endif
}

// Be counted there without waiting: what this thread did before is seen by those that wait.
template <int COUNT>
__device__ __forceinline__ void named_barrier_arrive(int name) {
  static_assert(COUNT % 32 == 0 && COUNT > 0 && COUNT <= 1024, "whole warps");
#ifdef CUDA_ON_CPU
  on_cpu::block.named_barrier(name, COUNT, false);
#else
  asm volatile("bar.arrive %0, %1;" ::"r"(name), "n"(COUNT) : "memory");
#endif
}

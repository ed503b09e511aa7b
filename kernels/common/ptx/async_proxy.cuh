// The async proxy (sm_90): the way by which tensor copies and wgmma reach shared memory, beside that of threads. What a
// thread has written is seen there after its fence_async(), and by a copy that another thread issues, or a wgmma of
// other warps, after a barrier as well. PTX ISA, "Async proxy", "fence.proxy.async".
#pragma once

// What this thread has written to shared memory will be seen by copies and wgmma that follow.
__device__ __forceinline__ void fence_async() {
#ifdef CUDA_ON_CPU
  on_cpu::fence_async();
#else
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// The same; of shared memory, this thread and others that meet it before the copies have written only these bytes. (The
// CPU build then copies no more than them.)
__device__ __forceinline__ void fence_async(const void* written, int bytes) {
#ifdef CUDA_ON_CPU
  on_cpu::fence_async(written, bytes);
#else
  (void)written, (void)bytes;
  fence_async();
#endif
}

// mbarrier (sm_90): a barrier in shared memory that counts arrivals of threads and bytes of copies. When both are
// complete its phase changes and it counts again; waiting names a phase by its parity, so a thread that waits once in
// each phase flips a bit. A fresh barrier is in phase 0: waiting for parity 1 returns at once.
// PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier".
//
// Arrivals and waits have the default scope, that of a block, though the other block of a cluster takes part: with
// .cluster the compiler drains all stores before each arrival and drops L1 after each wait. That is not needed: wgmma
// has read what an arrival gives back, ordered by its own wait, and copies count their bytes at the barrier
// themselves. CUTLASS's ClusterBarrier does the same.
#pragma once
#include "common/ptx/shared.cuh"

struct alignas(8) Barrier {
  unsigned long long state;
};

__device__ __forceinline__ void barrier_init(Barrier* barrier, int count) {
#ifdef CUDA_ON_CPU
  on_cpu::mbarrier_init(barrier, count);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
#endif
}

// After the inits: make them seen by the copies, and by the cluster once it has met.
__device__ __forceinline__ void barrier_init_fence() {
#ifdef CUDA_ON_CPU
  on_cpu::fence_mbarriers();
#else
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

// Arrive, and let the phase wait for this many bytes of copies too.
__device__ __forceinline__ void barrier_expect(Barrier* barrier, int bytes) {
#ifdef CUDA_ON_CPU
  on_cpu::mbarrier_arrive(barrier, bytes);
#else
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
#endif
}

// Arrive at the barrier at the same place in block `rank` of the cluster.
__device__ __forceinline__ void barrier_arrive(Barrier* barrier, int rank) {
#ifdef CUDA_ON_CPU
  on_cpu::mbarrier_arrive(on_cpu::in_cta(barrier, rank), 0);
#else
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
#endif
}

// Wait until the phase of this parity is complete.
__device__ __forceinline__ void barrier_wait(Barrier* barrier, unsigned parity) {
#ifdef CUDA_ON_CPU
  on_cpu::mbarrier_wait(barrier, parity);
#else
  unsigned complete;
  do {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(complete)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  } while (!complete);
#endif
}

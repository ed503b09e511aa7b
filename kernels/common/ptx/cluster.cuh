// Clusters (sm_90): blocks that run at the same time and reach each other's shared memory.
#pragma once

__device__ __forceinline__ int rank_in_cluster() {
#ifdef CUDA_ON_CPU
  return on_cpu::block.current->cta;
#else
  int rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#endif
}

// A barrier for all threads of all blocks of the cluster.
__device__ __forceinline__ void cluster_barrier() {
#ifdef CUDA_ON_CPU
  on_cpu::block.cluster_barrier();
#else
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
#endif
}

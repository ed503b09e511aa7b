// Dynamic shared memory, and addresses in shared memory in the form of PTX.
#pragma once

#ifdef CUDA_ON_CPU
#define DYNAMIC_SHARED(name) unsigned char* name = reinterpret_cast<unsigned char*>(on_cpu::block.cta().dynamic_shared)
#else
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#endif

__device__ __forceinline__ unsigned shared_address(const void* shared) {
#ifdef CUDA_ON_CPU
  return reinterpret_cast<uintptr_t>(shared) % on_cpu::SHARED_APART;
#else
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
#endif
}

// The first multiple of 1024 bytes: where a tile that is swizzled in rows of 128 bytes may begin.
__device__ __forceinline__ unsigned char* align_to_swizzle(unsigned char* shared) {
  return shared + (1024 - shared_address(shared) % 1024) % 1024;
}

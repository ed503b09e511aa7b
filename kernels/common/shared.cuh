// Dynamic shared memory, and its addresses as PTX wants them.
#pragma once

#ifdef CUDA_ON_CPU
#define DYNAMIC_SHARED(name) unsigned char* name = reinterpret_cast<unsigned char*>(on_cpu::block.dynamic_shared)
#else
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

__device__ __forceinline__ unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}
#endif

// keep(x): the compiler cannot know what x is after this, though nothing is done. So a value that is computed before a
// loop stays in its register, where compilers prefer to compute it again at each use; and no use of x moves up across.
// forget(x): its value is not needed from here on, nor its register until it has another.
#pragma once

#ifdef CUDA_ON_CPU
template <class T>
void keep(T&) {}
inline void forget(float&) {}
#else
__device__ __forceinline__ void keep(int& x) { asm volatile("" : "+r"(x)); }
__device__ __forceinline__ void keep(unsigned& x) { asm volatile("" : "+r"(x)); }
__device__ __forceinline__ void keep(float& x) { asm volatile("" : "+f"(x)); }
__device__ __forceinline__ void forget(float& x) { asm volatile("" : "=f"(x)); }
template <class T>
__device__ __forceinline__ void keep(T*& x) {
  asm volatile("" : "+l"(x));
}
#endif

// The threads that share a row: a warp of their own, or all warps of a block. Sums, maxima and minima over them, in an
// order that never changes: the same bits every time.
#pragma once
#include "common/reduce.cuh"

template <int WARPS>
struct RowThreads {
  static constexpr int LANES = 32 * WARPS;
  static __device__ __forceinline__ int lane() { return threadIdx.x % LANES; }

  // The sum, maximum or minimum, for every thread. `parts` is shared memory: between two uses of the same there is a
  // barrier, or a call with other parts.
  static __device__ __forceinline__ float sum(float x, float (&parts)[WARPS]) {
    return of_warps(warp_sum(x), parts, [](float a, float b) { return a + b; });
  }
  static __device__ __forceinline__ float max(float x, float (&parts)[WARPS]) {
    return of_warps(warp_max(x), parts, [](float a, float b) { return fmaxf(a, b); });
  }
  static __device__ __forceinline__ int min(int x, int (&parts)[WARPS]) {
    const auto least = [](int a, int b) { return a < b ? a : b; };
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) x = least(x, __shfl_xor_sync(~0u, x, apart));
    return of_warps(x, parts, least);
  }

 private:
  template <class T, class Merge>
  static __device__ __forceinline__ T of_warps(T x, T (&parts)[WARPS], Merge merge) {
    if (WARPS > 1) {
      if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
      __syncthreads();
      x = parts[0];
#pragma unroll
      for (int i = 1; i < WARPS; i++) x = merge(x, parts[i]);
    }
    return x;
  }
};

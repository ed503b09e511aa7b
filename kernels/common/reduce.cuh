// Sums and maxima over a warp or a block, in an order that never changes: the same bits every time.
#pragma once

template <class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) x += __shfl_xor_sync(~0u, x, apart);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, apart));
  return x;
}

// The sum over a block of 256, for its thread 0. `parts` is shared memory.
__device__ __forceinline__ float block_sum(float x, float (&parts)[8]) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  if (threadIdx.x == 0)
    for (int i = 0; i < 8; i++) sum += parts[i];
  return sum;
}

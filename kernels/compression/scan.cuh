// Sums of integers over the threads of a block of 256 before each, and over all: integers, so the order does not matter.
#pragma once

constexpr int SCAN_THREADS = 256, SCAN_WARPS = SCAN_THREADS / 32;

struct Scanned {
  unsigned before, total;
};

// `parts` is shared memory, free again after the next barrier.
__device__ __forceinline__ Scanned block_scan(unsigned x, unsigned (&parts)[SCAN_WARPS]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  unsigned sum = x;
#pragma unroll
  for (int apart = 1; apart < 32; apart *= 2) {
    const unsigned below = __shfl_up_sync(~0u, sum, apart);
    if (lane >= apart) sum += below;
  }
  if (lane == 31) parts[warp] = sum;
  __syncthreads();
  Scanned found = {sum - x, 0};
#pragma unroll
  for (int i = 0; i < SCAN_WARPS; i++) {
    if (i < warp) found.before += parts[i];
    found.total += parts[i];
  }
  return found;
}

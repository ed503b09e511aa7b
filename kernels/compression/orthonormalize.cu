// Orthonormal columns of a thin matrix, in place, by Gram and Schmidt's method twice; dependent columns become zero
// Shapes: columns (n, r) float, row-major, r small; done (r, n) double, working memory
// Launch: 1 block of THREADS
// Roofline: some r^2 reads of n doubles from a cache by one multiprocessor, a barrier after each; latency-bound.
// Oracle: ops/powersgd.py. Source: Vogels et al. 2019, "PowerSGD"; twice: Giraud et al. 2005, "The loss of orthogonality in
// the Gram-Schmidt orthogonalization process".
//
// Sums are in double and in an order that n alone decides: all ranks with a GPU of one kind get the same bits. A thread
// has the same rows of all columns, so only sums need barriers.
#include "common/numbers.cuh"
#include "common/reduce.cuh"

#define THREADS 1024
constexpr int WARPS = THREADS / 32;
constexpr double LEAST_NORM = 1e-6;  // of a column, relative to the norm before the others are projected out
static_assert(WARPS == 32, "one warp adds up the sums of all");

// The sum over the block, for all its threads. `parts` is shared memory, and is free again.
__device__ __forceinline__ double sum_over_block(double x, double (&parts)[WARPS]) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  x = warp_sum(parts[threadIdx.x % 32]);
  __syncthreads();
  return x;
}

extern "C" __global__ void __launch_bounds__(THREADS) orthonormalize(float* columns, double* done, int n, int r) {
  __shared__ double parts[WARPS];
  for (int k = 0; k < r; k++) {
    double* column = done + (long long)k * n;
    double squares = 0;
    for (int i = threadIdx.x; i < n; i += THREADS) {
      const double x = column[i] = columns[(long long)i * r + k];
      squares += x * x;
    }
    const double before = sqrt(sum_over_block(squares, parts));
    for (int turn = 0; turn < 2 * k; turn++) {
      const double* other = done + (long long)(turn < k ? turn : turn - k) * n;
      double dot = 0;
      for (int i = threadIdx.x; i < n; i += THREADS) dot += other[i] * column[i];
      dot = sum_over_block(dot, parts);
      for (int i = threadIdx.x; i < n; i += THREADS) column[i] -= dot * other[i];
    }
    squares = 0;
    for (int i = threadIdx.x; i < n; i += THREADS) squares += column[i] * column[i];
    const double norm = sqrt(sum_over_block(squares, parts));
    const bool dependent = norm <= LEAST_NORM * before;  // false for NaN, which stays
    for (int i = threadIdx.x; i < n; i += THREADS) {
      column[i] = dependent ? 0 : column[i] / norm;
      columns[(long long)i * r + k] = float(column[i]);
    }
  }
}

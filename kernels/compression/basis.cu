// The factor of a matrix with which the next step of PowerSGD begins
// Shapes: basis, draws (n, r) float, row-major; found (n * r,)
// Launch: restart_columns: grid r, block 256; keep_finite: 1 block of 256
// Roofline: 4 to 12 bytes an element; latency-bound. Oracle: ops/powersgd.py. Source: Vogels et al. 2019, "PowerSGD".
#include "compression/feedback.cuh"
#include "compression/scan.cuh"

// A column of zeros becomes that of the draws.
extern "C" __global__ void __launch_bounds__(256) restart_columns(float* basis, const float* draws, int n, int r) {
  __shared__ unsigned parts[SCAN_WARPS];
  unsigned others = 0;
  for (int i = threadIdx.x; i < n; i += SCAN_THREADS) others += basis[(long long)i * r + blockIdx.x] != 0;
  if (block_scan(others, parts).total > 0) return;
  for (int i = threadIdx.x; i < n; i += SCAN_THREADS) {
    const long long at = (long long)i * r + blockIdx.x;
    basis[at] = draws[at];
  }
}

// basis = found, or zeros if a number of it is not finite
extern "C" __global__ void __launch_bounds__(256) keep_finite(const float* found, float* basis, int n) {
  __shared__ unsigned parts[SCAN_WARPS];
  unsigned bad = 0;
  for (int i = threadIdx.x; i < n; i += SCAN_THREADS) bad += !is_finite(found[i]);
  const bool all = block_scan(bad, parts).total == 0;
  for (int i = threadIdx.x; i < n; i += SCAN_THREADS) basis[i] = all ? found[i] : 0;
}

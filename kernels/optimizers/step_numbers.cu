// The numbers of a step: the scale of its gradients with the factor that clips them, found on the GPU
// Shapes: totals (2,) float: the weight and the loss of the step; squares (parts,) float, whose sum is the squared norm of
//     the gradients; given (count,) double: the first is multiplied by the scale; numbers (1 + count,) float
// Launch: 1 block of 256
// Roofline: none, a few hundred numbers. Oracle: ops/update.py, step_numbers. Source: Pascanu et al. 2013 (clipping).
//
// numbers[0] is 1, or 0 where the loss or the norm is not finite; then updates leave everything as it is. All in double
// and in the order of the host's formulas, so that an update has the bits that it would have by the host's numbers.
#include "common/numbers.cuh"

constexpr int THREADS = 256;

__device__ __forceinline__ bool is_finite(double x) { return x - x == 0; }

extern "C" __global__ void __launch_bounds__(THREADS)
step_numbers(const float* totals, const float* squares, int parts, const double* given, int count, double max_norm,
             float* numbers) {
  __shared__ double sums[THREADS];
  const int t = threadIdx.x;
  double sum = 0;
  for (int i = t; i < parts; i += THREADS) sum += squares[i];
  sums[t] = sum;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) sums[t] += sums[t + half];
  }
  if (t > 0) return;
  const double norm = sqrt(sums[0]), loss = totals[1];
  double scale = 1 / (totals[0] > 1 ? double(totals[0]) : 1.0);
  const double scaled = norm * scale;
  if (max_norm > 0 && scaled > 0 && max_norm / scaled < 1) scale *= max_norm / scaled;
  numbers[0] = is_finite(loss) && is_finite(norm) ? 1.f : 0.f;
  for (int i = 0; i < count; i++) numbers[1 + i] = float(i == 0 ? scale * given[0] : given[i]);
}

// Softmax and cross-entropy, forward and backward in one pass, and the sums that a step keeps
//     row m   loss = log(sum_k exp s_k) - (1 - smoothing) s_target - smoothing mean_k s_k,  s = logits - max
//             dlogits = p - (1 - smoothing) [k = target] - smoothing / K,  p = softmax(logits)
//     rows[m] = (1, loss, 1 if the target has the largest logit); zeros, and no gradient, where target = ignored
// Shapes: logits, dlogits (M, K); targets (M,) int64; rows (M, 3); totals (3,), fp32, the sum of rows in a fixed order.
//     A target outside of [0, K) that is not the ignored one makes the loss NaN: the host does not look at targets.
// Launch: softmax_xent: one warp a row, 8 rows a block of 256; softmax_xent_sum: one block of 256
// Roofline: 8 MK bytes; memory-bound. Oracle: ops/softmax_cross_entropy.py.
#include "common/numbers.cuh"

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int bits = 16; bits; bits /= 2) {
    const float other = __shfl_xor_sync(~0u, x, bits);
    x = x > other || x != x ? x : other;  // NaN stays NaN
  }
  return x;
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int bits = 16; bits; bits /= 2) x += __shfl_xor_sync(~0u, x, bits);
  return x;
}

extern "C" __global__ void __launch_bounds__(256)
    softmax_xent(const float* logits, const long long* targets, float* dlogits, float* rows, const int num_rows,
                 const int num_classes, const float smoothing, const long long ignored) {
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= num_rows) return;
  const float* from = logits + (long long)row * num_classes;
  float* to = dlogits + (long long)row * num_classes;
  const long long target = targets[row];
  const bool counted = target != ignored, known = target >= 0 && target < num_classes;

  float largest = float_from_bits(0xFF800000);  // -infinity
  for (int k = lane; k < num_classes; k += 32) largest = from[k] > largest || from[k] != from[k] ? from[k] : largest;
  largest = warp_max(largest);
  float sum = 0, shifted = 0;
  int first = num_classes;  // of the largest
  for (int k = lane; k < num_classes; k += 32) {
    const float s = from[k] - largest;
    sum += expf(s);
    shifted += s;
    if (s == 0 && k < first) first = k;
  }
  sum = warp_sum(sum);
  shifted = warp_sum(shifted);
#pragma unroll
  for (int bits = 16; bits; bits /= 2) first = min(first, __shfl_xor_sync(~0u, first, bits));

  const float spread = smoothing / num_classes, hit = 1 - smoothing;
  for (int k = lane; k < num_classes; k += 32) {
    const float p = expf(from[k] - largest) / sum;
    to[k] = counted ? p - spread - (k == target ? hit : 0) : 0;
  }
  if (lane) return;
  const float s_target = known ? from[target] - largest : float_from_bits(0x7FFFFFFF);
  rows[3ll * row] = counted ? 1 : 0;
  rows[3ll * row + 1] = counted ? logf(sum) - hit * s_target - spread * shifted : 0;
  rows[3ll * row + 2] = counted && first == target ? 1 : 0;
}

extern "C" __global__ void __launch_bounds__(256)
    softmax_xent_sum(const float* rows, float* totals, const int num_rows) {
  __shared__ float part[3][256];
  for (int i = 0; i < 3; i++) {
    float sum = 0;
    for (int row = threadIdx.x; row < num_rows; row += 256) sum += rows[3ll * row + i];
    part[i][threadIdx.x] = sum;
  }
  __syncthreads();
  for (int half = 128; half; half /= 2) {
    if (int(threadIdx.x) < half)
      for (int i = 0; i < 3; i++) part[i][threadIdx.x] += part[i][threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x < 3) totals[threadIdx.x] = part[threadIdx.x][0];
}

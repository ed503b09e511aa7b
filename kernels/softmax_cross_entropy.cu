// Softmax and cross-entropy, forward and gradient in one: loss = log(sum_k exp s_k) - sum_k q_k s_k, dlogits = p - q
// Shapes: logits, dlogits (M, K) of Element (dlogits may be logits); targets (M,) int64 in [0, K); counted (M,)
//     bool or null: all; losses (M,) float, 0 in rows that do not count; right (M,) int32 or null: 1 where the target
//     is the (first) largest logit of a row that counts
// Launch: grid ceil(M / 8), block 256: a warp a row
// Roofline: 3 MK elements (two reads, the second from cache where a row fits, one write); memory-bound.
// Oracle: ops/softmax_cross_entropy.py. Source: Milakov and Gimelshein 2018, "Online normalizer calculation".
//
// s = logits - max, p = softmax; q is one-hot at the target, smoothed: (1 - smoothing) [k = target] + smoothing / K.
// Each lane keeps the maximum so far and the sum of exponentials against it, rescaled when the maximum grows; then
// lanes merge.
#include "common/elements.cuh"
#include "common/reduce.cuh"

constexpr float LOWEST = -3.402823466e38f;

extern "C" __global__ void __launch_bounds__(256)
softmax_cross_entropy(const Element* logits, const long long* targets, const unsigned char* counted, float smoothing,
                      float* losses, int* right, Element* dlogits, int m, int k) {
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= m) return;
  const Element* x = logits + (long long)row * k;
  Element* dx = dlogits + (long long)row * k;
  if (counted && !counted[row]) {
    for (int i = lane; i < k; i += 32) dx[i] = Convert<Element>::from(0);
    if (lane == 0) losses[row] = 0;
    if (lane == 0 && right) right[row] = 0;
    return;
  }
  float largest = LOWEST, sum = 0, plain = 0;
  int at = k;  // of the largest
  for (int i = lane; i < k; i += 32) {
    const float value = to_float(x[i]);
    plain += value;
    if (value > largest) {
      sum *= expf(largest - value);
      largest = value;
      at = i;
    }
    sum += expf(value - largest);
  }
  const float of_row = warp_max(largest);
  sum = warp_sum(sum * expf(largest - of_row));
  plain = warp_sum(plain);
  int first = largest == of_row ? at : k;
  for (int apart = 16; apart > 0; apart /= 2) first = min(first, __shfl_xor_sync(~0u, first, apart));

  const int target = int(targets[row]);
  if (lane == 0) {
    const float expected = (1 - smoothing) * (to_float(x[target]) - of_row) + smoothing * (plain / k - of_row);
    losses[row] = logf(sum) - expected;
    if (right) right[row] = first == target;
  }
  __syncwarp();  // x[target] has been read: dx may be x
  for (int i = lane; i < k; i += 32) {
    const float p = expf(to_float(x[i]) - of_row) / sum;
    dx[i] = Convert<Element>::from(p - (i == target ? 1 - smoothing : 0) - smoothing / k);
  }
}

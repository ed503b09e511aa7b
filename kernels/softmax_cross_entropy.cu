// Softmax and cross-entropy, forward and gradient in one: loss = log(sum_k exp s_k) - sum_k q_k s_k, dlogits = p - q
// Shapes: logits, dlogits (M, K) of Element (dlogits may be logits); targets (M,) int64 in [0, K), or `ignored`: such
//     rows count for nothing; totals (M, 3) float: 1 where a row counts, its loss, 1 where its target is the (first)
//     largest logit. A target outside of [0, K) makes the loss and the gradient of its row NaN: to say more would be
//     to wait for the GPU. class_weights (K,) float, or null: the loss and the gradient of a row are multiplied by the
//     weight of its target.
// Launch: grid ceil(M / 8), block 256: one warp per row
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
softmax_cross_entropy(const Element* logits, const long long* targets, long long ignored, float smoothing,
                      const float* class_weights, float* totals, Element* dlogits, int m, int k) {
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= m) return;
  const Element* x = logits + (long long)row * k;
  Element* dx = dlogits + (long long)row * k;
  const long long target = targets[row];
  float* total = totals + 3ll * row;
  if (target == ignored || target < 0 || target >= k) {
    const float filling = target == ignored ? 0 : float_from_bits(0x7FC00000);
    for (int i = lane; i < k; i += 32) dx[i] = Convert<Element>::from(filling);
    if (lane == 0) {
      total[0] = target != ignored;
      total[1] = filling;
      total[2] = 0;
    }
    return;
  }
  const float weight = class_weights ? class_weights[target] : 1;
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

  if (lane == 0) {
    const float expected = (1 - smoothing) * (to_float(x[target]) - of_row) + smoothing * (plain / k - of_row);
    total[0] = 1;
    total[1] = weight * (logf(sum) - expected);
    total[2] = first == target;
  }
  __syncwarp();  // x[target] has been read: dx may be x
  for (int i = lane; i < k; i += 32) {
    const float p = expf(to_float(x[i]) - of_row) / sum;
    dx[i] = Convert<Element>::from(weight * (p - (i == target ? 1 - smoothing : 0) - smoothing / k));
  }
}

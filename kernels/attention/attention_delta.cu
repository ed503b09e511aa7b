// What the gradient of attention needs of its result: delta = the sum of y dy over the numbers of a head
// Shapes: y, dy (N, H, S, D) of Element, any strides of samples, heads and tokens; delta (N, H, S) float: struct
//     Attention of attention/attention.cuh. more (N, H, S) or null: log_sum_exp of more keys than those of y, whose own is
//     log_sum_exp; then delta is multiplied by exp(log_sum_exp - more)
// Launch: (8 H) x S x N: any grid of blocks of whole warps in x
// Roofline: a read of y and dy; memory-bound. Oracle: ops/attention.py. Source: Dao et al. 2022, arXiv 2205.14135.
//     Has not run on a GPU.
//
// Eight lanes add up a row, 16 bytes at a time. Heads of a token are neighbors in memory, so heads go across the grid.
#include "attention/attention.cuh"
#include "common/elements.cuh"

constexpr int LANES = 8, NUMBERS = 16 / sizeof(Element);

// Whether all rows can be read 16 bytes at a time.
__device__ __forceinline__ bool aligned_to_numbers(const Element* array, const Apart& apart) {
  return rows_aligned<NUMBERS>(array, int((apart.token | apart.head | apart.sample) % NUMBERS));
}

extern "C" __global__ void __launch_bounds__(256)
attention_delta(const Attention<Element> attention, const float* more) {
  const bool aligned =
      aligned_to_numbers(attention.y, attention.of_y) && aligned_to_numbers(attention.dy, attention.of_dy);
  for_each_layer(attention.samples, [&](int sample) {
    for_each_down(attention.queries, [&](int query) {
      const int across = (LANES * attention.heads + 31) / 32 * 32;  // whole warps, which exchange sums
      for_each_across(across, [&](int i) {
        const int head = i / LANES;
        float sum = 0;
        if (head < attention.heads) {
          const Element* y = head_of(attention.y, attention.of_y, sample, head) + query * attention.of_y.token;
          const Element* dy = head_of(attention.dy, attention.of_dy, sample, head) + query * attention.of_dy.token;
          for (int at = i % LANES * NUMBERS; at < attention.size; at += LANES * NUMBERS) {
            const auto a = load<NUMBERS>(y + at, attention.size - at, aligned);
            const auto b = load<NUMBERS>(dy + at, attention.size - at, aligned);
#pragma unroll
            for (int j = 0; j < NUMBERS; j++) sum += to_float(a.at[j]) * to_float(b.at[j]);
          }
        }
#pragma unroll
        for (int apart = LANES / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(~0u, sum, apart);
        if (head >= attention.heads || i % LANES) return;
        const long long at = statistics_of(attention, sample, head) + query;
        if (more) {
          const float own = attention.log_sum_exp[at];
          sum *= own == minus_infinity() ? 0 : expf(own - more[at]);
        }
        attention.delta[at] = sum;
      });
    });
  });
}

// Rotary position embedding, in place: pairs (a, b) of a head's halves become (a cos - b sin, b cos + a sin)
// Shapes: x (N, H, T, 2 half) of Element, elements of a row are neighbors; table (P, 2 half) float: cosines, then sines
//     of each position; positions (N, T) int64, or null: offset + t
// Launch: across: pairs of a head; down: tokens of a sample; layers: heads of all samples (common/elements.cuh)
// Roofline: a read and a write of x; memory-bound. Oracle: ops/rotary.py. Source: Su et al. 2021, arXiv 2104.09864.
//
// A position that the table does not have makes NaN. sign: 1, or -1 to turn back.
#include "common/elements.cuh"

extern "C" __global__ void __launch_bounds__(256)
rotary(Element* x, const float* table, const long long* positions, int samples, int heads, int tokens, int half,
       int num_positions, int offset, float sign, long long sample_apart, long long head_apart, long long token_apart) {
  for_each_across(half, [&](int i) {
    for_each_layer(samples * heads, [&](int matrix) {
      const int n = matrix / heads;
      Element* of_head = x + n * sample_apart + (matrix - n * heads) * head_apart + i;
      for_each_down(tokens, [&](int t) {
        const long long position = positions ? positions[(long long)n * tokens + t] : (long long)offset + t;
        float cos = nanf(""), sin = cos;
        if (position >= 0 && position < num_positions) {
          const float* angles = table + position * 2 * half + i;
          cos = angles[0], sin = angles[half] * sign;
        }
        Element* first = of_head + t * token_apart;
        const float a = to_float(first[0]), b = to_float(first[half]);
        first[0] = Convert<Element>::from(a * cos - b * sin);
        first[half] = Convert<Element>::from(b * cos + a * sin);
      });
    });
  });
}

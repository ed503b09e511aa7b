// Rotary position embedding, in place: pairs (a, b) of a head's halves become (a cos - b sin, b cos + a sin)
// Shapes: x (N, H, T, 2 half) of Element, elements of a row are neighbors; table (P, 2 half) float: cosines, then sines
//     of each position; positions (N, T) int64, or null: offset + t
// Launch: across: pieces of 16 bytes of half a head; down: tokens of a sample; layers: heads of all samples
//     (common/elements.cuh)
// Roofline: a read and a write of x; memory-bound. Oracle: ops/rotary.py. Source: Su et al. 2021, arXiv 2104.09864.
//
// A position that the table does not have makes NaN. sign: 1, or -1 to turn back.
#include "common/elements.cuh"

extern "C" __global__ void __launch_bounds__(256)
rotary(Element* x, const float* table, const long long* positions, int samples, int heads, int tokens, int half,
       int num_positions, int offset, float sign, long long sample_apart, long long head_apart, long long token_apart) {
  const bool apart = (sample_apart | head_apart | token_apart) % PIECE == 0;
  const bool aligned = rows_aligned<PIECE>(x, half) && rows_aligned<PIECE>(table, half) && apart;
  for_each_across((half + PIECE - 1) / PIECE, [&](int piece) {
    const int i = piece * PIECE, count = half - i;
    for_each_layer(samples * heads, [&](int matrix) {
      const int n = matrix / heads;
      Element* of_head = x + n * sample_apart + (matrix - n * heads) * head_apart + i;
      for_each_down(tokens, [&](int t) {
        const long long position = positions ? positions[(long long)n * tokens + t] : (long long)offset + t;
        const bool known = position >= 0 && position < num_positions;
        const float* angles = table + (known ? position * 2 * half : 0) + i;
        const int seen = known ? count : 0;
        const auto cos = load<PIECE>(angles, seen, aligned), sin = load<PIECE>(angles + half, seen, aligned);
        Element* first = of_head + t * token_apart;
        const auto a = load<PIECE>(first, count, aligned), b = load<PIECE>(first + half, count, aligned);
        const float lost = known ? 0 : nanf("");
        const auto turned = apply<Element>(
            [=](float a, float b, float cos, float sin) { return a * cos - b * sin * sign + lost; }, a, b, cos, sin);
        const auto second = apply<Element>(
            [=](float a, float b, float cos, float sin) { return b * cos + a * sin * sign + lost; }, a, b, cos, sin);
        store<PIECE>(first, turned, count, aligned);
        store<PIECE>(first + half, second, count, aligned);
      });
    });
  });
}

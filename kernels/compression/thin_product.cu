// Product of two thin factors: out = left right, or added to it; each element in the order of the thin dimension
// Shapes: left (n, r), right (r, m), out (n, m) float, row-major; r small
// Launch: across: pieces of 4 elements of a row of out; down: rows (common/elements.cuh)
// Roofline: 4 n m bytes, 8 where it adds, for each KEPT of r; memory-bound. Oracle: ops/compress.py (thin_product).
// Source: Vogels et al. 2019, "PowerSGD".
//
// All ranks compute it from the same factors, and must get the same bits: products and sums are rounded one by one. A
// thread keeps KEPT rows of `right` in registers, for all its rows of out.
#include "compression/feedback.cuh"

#define KEPT 4
static_assert(KEPT * PIECE <= 32, "registers");

extern "C" __global__ void thin_product(const float* left, const float* right, float* out, int n, int r, int m,
                                        int add) {
  const bool aligned = rows_aligned<PIECE>(out, m) && rows_aligned<PIECE>(right, m);
  for_each_across(m / PIECE + (m % PIECE > 0), [&](int piece) {
    const int j = piece * PIECE;
    for (int first = 0; first < r; first += KEPT) {
      Vec<float, PIECE> kept[KEPT];
#pragma unroll
      for (int k = 0; k < KEPT; k++)
        kept[k] = load<PIECE>(right + (long long)(first + k) * m + j, first + k < r ? m - j : 0, aligned);
      for_each_down(n, [&](int i) {
        float* to = out + (long long)i * m + j;
        auto sum = load<PIECE>(to, first > 0 || add ? m - j : 0, aligned);
#pragma unroll
        for (int k = 0; k < KEPT; k++) {
          if (first + k >= r) continue;
          const float factor = left[(long long)i * r + first + k];
#pragma unroll
          for (int c = 0; c < PIECE; c++) sum.at[c] = rounded_sum(sum.at[c], rounded_product(factor, kept[k].at[c]));
        }
        store<PIECE>(to, sum, m - j, aligned);
      });
    }
  });
}

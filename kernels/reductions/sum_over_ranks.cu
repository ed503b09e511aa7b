// Sum of the arrays that several ranks have sent, added in fp32 in the order of the ranks and rounded once
// Shapes: x (ranks, n) of Element, row r that of rank r; y (n,) of Element, no part of x
// Launch: block 256, any grid
// Roofline: (ranks + 1) elements for each of y; memory-bound. Oracle: ops/reduce.py sum_over_ranks. Has not run on a GPU.
#include "common/elements.cuh"

static_assert(sizeof(Vec<Element, PIECE>) == 16, "a piece is one load");

extern "C" __global__ void __launch_bounds__(256)
sum_over_ranks(const Element* x, Element* y, int ranks, long long n) {
  constexpr int SEVERAL = 4;  // loads under way
  const bool aligned = piece_aligned(y) && piece_aligned(x) && n % PIECE == 0;
  for_each_piece(n, [&](long long i, int count) {
    Vec<float, PIECE> sum = {};
    for (int first = 0; first < ranks; first += SEVERAL) {
      Vec<Element, PIECE> parts[SEVERAL];
#pragma unroll
      for (int r = 0; r < SEVERAL; r++)
        if (first + r < ranks) parts[r] = load<PIECE>(x + (first + r) * n + i, count, aligned);
#pragma unroll
      for (int r = 0; r < SEVERAL; r++)
        if (first + r < ranks)
#pragma unroll
          for (int j = 0; j < PIECE; j++) sum.at[j] += to_float(parts[r].at[j]);
    }
    store<PIECE>(y + i, Rounded<Element>::from(sum), count, aligned);
  });
}

// A matrix (of a batch) copied row by row into rows of another length, converted on the way.
#pragma once
#include "elements.cuh"

// y (batch, rows, y_ld) = f(x); x (batch, rows, cols), rows x_ld and matrices x_batch elements apart. y_ld is a multiple
// of PIECE and at least cols: the gap is filled with zeros.
template <class Out, class F>
__device__ __forceinline__ void copy_rows(const float* x, Out* y, long long x_batch, int x_ld, int y_ld, int rows,
                                          int cols, int batch, F f) {
  const bool aligned = rows_aligned<PIECE>(x, x_ld) && x_batch % PIECE == 0;
  for_each_piece((long long)batch * rows * y_ld, [&](long long i, int) {  // a piece is within one row
    const long long row = i / y_ld;
    const int col = int(i % y_ld);
    const auto piece = load<PIECE>(x + row / rows * x_batch + row % rows * x_ld + col, cols - col, aligned);
    store<PIECE>(y + i, apply<Out>(f, piece), PIECE, true);
  });
}

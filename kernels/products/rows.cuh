// A matrix (of a batch) copied row by row into rows of another length, converted on the way.
#pragma once
#include "common/elements.cuh"

// y (batch, rows, y_ld) = f(x); x (batch, rows, cols), rows x_ld and matrices x_batch elements apart. y_ld is a multiple
// of PIECE and at least cols: the gap is filled with zeros.
template <class In, class Out, class F>
__device__ __forceinline__ void copy_rows(const In* x, Out* y, long long x_batch, int x_ld, int y_ld, int rows,
                                          int cols, int batch, F f) {
  const bool aligned = rows_aligned<PIECE>(x, x_ld) && x_batch % PIECE == 0;
  for_each_across(y_ld / PIECE, [&](int i) {
    const int col = i * PIECE;
    for_each_layer(batch, [&](int number) {
      const In* from = x + number * x_batch + col;
      Out* to = y + (long long)number * rows * y_ld + col;
      for_each_down(rows, [&](int row) {
        const auto piece = load<PIECE>(from + (long long)row * x_ld, cols - col, aligned);
        store<PIECE>(to + (long long)row * y_ld, apply<Out>(f, piece), PIECE, true);
      });
    });
  });
}

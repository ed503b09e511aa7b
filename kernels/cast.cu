// A matrix (of a batch) from fp32 to bf16, in rows as tensor cores and the copy engine want them
// Shapes: x (batch, rows, cols) float, rows x_ld and matrices x_batch elements apart; y (batch, rows, y_ld) bf16, y_ld a
//     multiple of 8 and at least cols: the gap is filled with zeros
// Launch: block 256, any grid
// Roofline: 4 bytes read, 2 written for each element; memory-bound. Oracle: numbers of tests/kernels/gemm.py.
#include "common/elements.cuh"

extern "C" __global__ void cast_rows(const float* x, bf16* y, long long x_batch, int x_ld, int y_ld, int rows, int cols,
                                     int batch) {
  const bool aligned = rows_aligned<PIECE>(x, x_ld) && x_batch % PIECE == 0;
  for_each_piece((long long)batch * rows * y_ld, [&](long long i, int) {  // a piece lies within one row
    const long long row = i / y_ld;
    const int col = int(i % y_ld);
    const auto piece = load<PIECE>(x + row / rows * x_batch + row % rows * x_ld + col, cols - col, aligned);
    store<PIECE>(y + i, apply<bf16>([](float x) { return x; }, piece), PIECE, true);
  });
}

// A matrix (of a batch) from fp32 to bf16, in the rows that tensor cores and the copy engine need
// Shapes: x (batch, rows, cols) float, rows x_ld and matrices x_batch elements apart; y (batch, rows, y_ld) bf16, y_ld a
//     multiple of 8 and at least cols: the gap is filled with zeros
// Launch: across: pieces of 4 elements of a row of y; down: rows; layers: the batch (common/elements.cuh)
// Roofline: 4 bytes read, 2 written for each element; memory-bound. Oracle: numbers of tests/kernels/gemm.py.
#include "common/rows.cuh"

extern "C" __global__ void cast_rows(const float* x, bf16* y, long long x_batch, int x_ld, int y_ld, int rows, int cols,
                                     int batch) {
  copy_rows(x, y, x_batch, x_ld, y_ld, rows, cols, batch, [](float x) { return x; });
}

// Arrays from fp32 to bf16 and back; a matrix (of a batch) in the rows that tensor cores and the copy engine need
// Shapes: to_bf16, to_fp32: x and y (n,); cast_rows, pack_rows: x (batch, rows, cols) float or bf16, rows x_ld and matrices x_batch elements apart; y (batch, rows, y_ld) bf16, y_ld a
//     multiple of 8 and at least cols: the gap is filled with zeros
// Launch: to_bf16, to_fp32: block 256, any grid; the others: across: pieces of 4 elements of a row of y; down: rows; layers: the batch (common/elements.cuh)
// Roofline: 4 bytes read, 2 written for each element (to_fp32 2 and 4, pack_rows 2 and 2); memory-bound.
// Oracles: ops/convert.py; numbers of tests/kernels/products/gemm.py.
#include "products/rows.cuh"

extern "C" __global__ void cast_rows(const float* x, bf16* y, long long x_batch, int x_ld, int y_ld, int rows, int cols,
                                     int batch) {
  copy_rows(x, y, x_batch, x_ld, y_ld, rows, cols, batch, [](float x) { return x; });
}
extern "C" __global__ void pack_rows(const bf16* x, bf16* y, long long x_batch, int x_ld, int y_ld, int rows, int cols,
                                     int batch) {
  copy_rows(x, y, x_batch, x_ld, y_ld, rows, cols, batch, [](float x) { return x; });
}

extern "C" __global__ void to_bf16(const float* x, bf16* y, long long n) {
  map(y, n, [](float x) { return x; }, x);
}
extern "C" __global__ void to_fp32(const bf16* x, float* y, long long n) {
  map(y, n, [](float x) { return x; }, x);
}

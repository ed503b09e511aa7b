// A matrix (of a batch) rounded to tf32, in the rows that the copy engine needs, transposed or not
// Arch: sm_80
// Shapes: x (batch, rows, cols) float, rows x_ld and matrices x_batch elements apart; y float: round_rows (batch, rows,
//     y_ld), round_columns (batch, cols, y_ld), y_ld a multiple of 4 and at least the row: the gap is filled with zeros
// Launch: round_rows: across: pieces of 4 elements of a row of y; down: rows; layers: the batch (common/elements.cuh).
//     round_columns: grid across * down * batch, across = ceil(cols / 32), down = ceil(rows / 32), block (32, 8)
// Roofline: 4 bytes read, 4 written for each element; memory-bound. Oracle: numbers of tests/kernels/formats.py.
//
// wgmma reads fp32 as tf32 by truncating 13 bits, which always errs towards zero, and only where k is contiguous: this
// kernel prepares its factors.
#include "common/divide.cuh"
#include "products/rows.cuh"

__device__ __forceinline__ float rounded(float x) { return float_from_bits(to_tf32(float_bits(x))); }

extern "C" __global__ void round_rows(const float* x, float* y, long long x_batch, int x_ld, int y_ld, int rows, int cols,
                                      int batch) {
  copy_rows(x, y, x_batch, x_ld, y_ld, rows, cols, batch, [](float x) { return rounded(x); });
}

constexpr int TILE = 32, TILE_ROWS = 8;

extern "C" __global__ void __launch_bounds__(TILE * TILE_ROWS)
round_columns(const float* x, float* y, long long x_batch, int x_ld, int y_ld, int rows, int cols,
              const FastDivide by_across, const FastDivide by_down) {
  __shared__ float tile[TILE][TILE + 1];  // one more: then a column of it is in 32 banks
  const auto across = by_across(blockIdx.x), down = by_down(across.quotient);
  const int first_col = across.remainder * TILE, first_row = down.remainder * TILE, number = down.quotient;
  const float* from = x + number * x_batch;
  for (int i = threadIdx.y; i < TILE; i += TILE_ROWS) {
    const int row = first_row + i, col = first_col + int(threadIdx.x);
    tile[i][threadIdx.x] = row < rows && col < cols ? from[(long long)row * x_ld + col] : 0;
  }
  __syncthreads();
  float* to = y + (long long)number * cols * y_ld;
  for (int i = threadIdx.y; i < TILE; i += TILE_ROWS) {
    const int row = first_row + int(threadIdx.x), col = first_col + i;
    if (row < y_ld && col < cols) to[(long long)col * y_ld + row] = rounded(tile[threadIdx.x][i]);
  }
}

// The second half of a matrix product whose K was cut: out = epilogue(alpha (partial 0 + partial 1 + ...) + beta C)
// Shapes: partials (splits, batch, M, N) fp32; the rest as in products/gemm.cuh. OUTPUT_BF16: C, out and pre are bf16.
// Launch: grid (ceil M / 32, ceil N / 128, batch), 256 per block: a warp sums 32 rows of 16 columns; slabs of 32.
// Rows are in x, since a product may have more than 65535 blocks of them.
// Roofline: 4 MN splits bytes read, s MN written; memory-bound. Oracle: ops/matmul.py.
//
// Parts are added in the order of K, so the result does not depend on which block was first.
#include "products/epilogue.cuh"
#include "products/gemm.cuh"
#include "products/types.cuh"

constexpr int PIECE = 4;         // columns of a lane: lanes form 8 x 4 over 8 rows of 16 columns
constexpr int WARP_ROWS = 32;

extern "C" __global__ void __launch_bounds__(256) gemm_sum(const Gemm<Output, Output> gemm) {
  const Epilogue<PIECE, Output, Output> finish(gemm, blockIdx.z);
  const long long size = (long long)gemm.m * gemm.n;
  const float* partials = gemm.partials + blockIdx.z * size;
  const bool aligned = rows_aligned<PIECE>(partials, gemm.n);
  const int lane = threadIdx.x % 32, first_row = blockIdx.x * WARP_ROWS;
  const int col = blockIdx.y * 128 + threadIdx.x / 32 * 16 + lane % 4 * PIECE;
  ColumnTotals<PIECE> totals;
#pragma unroll
  for (int i = 0; i < WARP_ROWS; i += 8) {
    const int row = first_row + i + lane / 4;
    const int count = row < gemm.m ? gemm.n - col : 0;
    float x[PIECE] = {};
    for (int split = 0; split < gemm.splits; split++) {
      const float* from = partials + split * (size * gemm.batch) + (long long)row * gemm.n + col;
      const auto part = load<PIECE>(from, count, aligned);
#pragma unroll
      for (int j = 0; j < PIECE; j++) x[j] += part.at[j];
    }
    finish(row, col, x);
    totals.add(x, i == 0, row < gemm.m);
  }
  if (gemm.column_sums) totals.write<WARP_ROWS>(gemm, blockIdx.z, first_row, col);
}

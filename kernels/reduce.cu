// Sums down columns and sums of squares
// Shapes: x, y (rows, n) of Element; out (parts, n) float, parts = ceil(rows / rows_per_part)
// Launch: column_sum, sum_rows: grid (ceil(n / 128), parts), block 256. Many rows: in parts, then
//     sum_rows of the parts in one.
//     sum_of_squares: block 256, any grid; out (grid,)
// Roofline: one read; memory-bound. Oracles: ops/linear.py column_sum, ops/batchnorm.py, optim/clip.py.
// Each sum is made in an order fixed by the launch: the same bits every time.
#include "common/columns.cuh"
#include "common/reduce.cuh"

// out[part][col] (+)= the sum of term(place, count) over the rows of this part.
template <class Term>
__device__ __forceinline__ void sum_columns(float* out, int rows, int n, int rows_per_part, int accumulate, Term term) {
  __shared__ Sums<1> parts[COLUMN_WARPS][32];
  const Columns columns(rows, n, rows_per_part);
  Sums<1> sum = {};
  for (int row = columns.row; row < columns.stop; row += columns.apart) {
    const auto terms = term((long long)row * n + columns.first, n - columns.first);
#pragma unroll
    for (int i = 0; i < PIECE; i++) sum.at[0][i] += terms.at[i];
  }
  sum = fold(sum, columns, parts);
  if (int(threadIdx.x) < columns.across)
    write_columns(out + (long long)blockIdx.y * n + columns.first, sum.at[0], n - columns.first, accumulate);
}

extern "C" __global__ void __launch_bounds__(256)
column_sum(const Element* x, float* out, int rows, int n, int rows_per_part, int accumulate) {
  const bool aligned = rows_aligned<PIECE>(x, n);
  sum_columns(out, rows, n, rows_per_part, accumulate, [&](long long at, int count) {
    return apply<float>([](float x) { return x; }, load<PIECE>(x + at, count, aligned));
  });
}

// The parts that column_sum or a product's epilogue have left, which are float whatever Element is.
extern "C" __global__ void __launch_bounds__(256)
sum_rows(const float* x, float* out, int rows, int n, int rows_per_part, int accumulate) {
  const bool aligned = rows_aligned<PIECE>(x, n);
  sum_columns(out, rows, n, rows_per_part, accumulate,
              [&](long long at, int count) { return load<PIECE>(x + at, count, aligned); });
}

extern "C" __global__ void __launch_bounds__(256) sum_of_squares(const float* x, float* out, long long n) {
  __shared__ float parts[8];
  const bool aligned = piece_aligned(x);
  float sum = 0;
  for_each_piece(n, [&](long long i, int count) {
    const auto piece = load<PIECE>(x + i, count, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++) sum += piece.at[j] * piece.at[j];
  });
  sum = block_sum(sum, parts);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

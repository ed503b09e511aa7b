// Sums down columns, sums of squares, and whether all numbers are finite
// Shapes: x, y (rows, n) of Element; out (parts, n) float, parts = ceil(rows / rows_per_part)
// Launch: column_sum, column_dot, sum_rows: grid (ceil(n / 128), parts), block 256. Many rows: in parts, then
//     sum_rows of the parts in one. Few columns (n < 128): see the rows as (rows / q, q n), and sum the q afterwards.
//     sum_of_squares, find_non_finite: block 256, any grid; out (grid,)
// Roofline: one read; memory-bound. Oracles: ops/linear.py column_sum, ops/batchnorm.py, optim/clip.py.
// Each sum is made in an order fixed by the launch: the same bits every time.
#include "common/elements.cuh"
#include "common/reduce.cuh"

constexpr int COLUMNS = 128, WARPS = 8;  // of a block: a warp reads 128 columns of a row, 4 a lane

// out[part][col] (+)= the sum of term(row, count, col) over the rows of this part.
template <class Term>
__device__ __forceinline__ void sum_columns(float* out, int rows, int n, int rows_per_part, int accumulate, Term term) {
  __shared__ float sums[WARPS][COLUMNS];
  const int warp = threadIdx.x / 32, col = threadIdx.x % 32 * PIECE, first = blockIdx.x * COLUMNS;
  const int start = blockIdx.y * rows_per_part, stop = min(rows, start + rows_per_part);
  float sum[PIECE] = {};
  for (int row = start + warp; row < stop; row += WARPS) {
    const auto terms = term((long long)row * n + first + col, n - first - col);
#pragma unroll
    for (int i = 0; i < PIECE; i++) sum[i] += terms.at[i];
  }
#pragma unroll
  for (int i = 0; i < PIECE; i++) sums[warp][col + i] = sum[i];
  __syncthreads();
  if (threadIdx.x >= COLUMNS || first + int(threadIdx.x) >= n) return;
  float total = 0;
  for (int i = 0; i < WARPS; i++) total += sums[i][threadIdx.x];
  float* to = out + (long long)blockIdx.y * n + first + threadIdx.x;
  *to = accumulate ? *to + total : total;
}

extern "C" __global__ void __launch_bounds__(256)
column_sum(const Element* x, float* out, int rows, int n, int rows_per_part, int accumulate) {
  const bool aligned = rows_aligned<PIECE>(x, n);
  sum_columns(out, rows, n, rows_per_part, accumulate, [&](long long at, int count) {
    return apply<float>([](float x) { return x; }, load<PIECE>(x + at, count, aligned));
  });
}

// The parts that column_sum, column_dot or a product's epilogue have left, which are float whatever Element is.
extern "C" __global__ void __launch_bounds__(256)
sum_rows(const float* x, float* out, int rows, int n, int rows_per_part, int accumulate) {
  const bool aligned = rows_aligned<PIECE>(x, n);
  sum_columns(out, rows, n, rows_per_part, accumulate,
              [&](long long at, int count) { return load<PIECE>(x + at, count, aligned); });
}

extern "C" __global__ void __launch_bounds__(256)
column_dot(const Element* x, const Element* y, float* out, int rows, int n, int rows_per_part, int accumulate) {
  const bool aligned = rows_aligned<PIECE>(x, n) && rows_aligned<PIECE>(y, n);
  sum_columns(out, rows, n, rows_per_part, accumulate, [&](long long at, int count) {
    return apply<float>([](float x, float y) { return x * y; }, load<PIECE>(x + at, count, aligned),
                        load<PIECE>(y + at, count, aligned));
  });
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

// *found = 1 if x holds an infinity or a NaN; else it is left as it is.
extern "C" __global__ void __launch_bounds__(256) find_non_finite(const float* x, int* found, long long n) {
  const bool aligned = piece_aligned(x);
  bool bad = false;
  for_each_piece(n, [&](long long i, int count) {
    const auto piece = load<PIECE>(x + i, count, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++) bad |= (float_bits(piece.at[j]) & 0x7F800000) == 0x7F800000;
  });
  if (bad) *found = 1;  // whoever comes last writes the same
}

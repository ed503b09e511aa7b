// Sums down columns and sums of squares
// Shapes: x (rows, n) of Element, rows ld apart in column_sum; y, dy (rows, n); out (parts, n) float, parts = ceil(rows
//     / rows_per_part); sum_parts: x (2, parts, n), outs (n,)
// Launch: column_sum, mask_and_sum, sum_rows: grid (ceil(n / 128), parts), block 256. Many rows: in parts, then
//     sum_rows of the parts in one. sum_parts: grid (ceil(n / 32), 1, or 2 with a second sum), block 512
//     sum_of_squares: block 256, any grid; out (grid,)
// Roofline: one read, mask_and_sum two and a write; memory-bound. Oracles: ops/linear.py column_sum, ops/batchnorm.py, optim/clip.py.
// Each sum is made in an order fixed by the launch: the same bits every time.
#include "common/activations.cuh"
#include "common/reduce.cuh"
#include "reductions/columns.cuh"

// out[part][col] (+)= the sum of x over the rows of this part.
template <class T>
__device__ __forceinline__ void sum_columns(const T* x, float* out, int rows, int n, int ld, int rows_per_part,
                                            int accumulate) {
  __shared__ Sums<1> parts[COLUMN_WARPS][32];
  const Columns columns(rows, n, rows_per_part);
  const Sums<1> sum = fold(sum_of_rows(x, n, ld, columns), columns, parts);
  if (int(threadIdx.x) < columns.across)
    write_columns(out + (long long)blockIdx.y * n + columns.first, sum.at[0], n - columns.first, accumulate);
}

extern "C" __global__ void __launch_bounds__(256)
column_sum(const Element* x, float* out, int rows, int n, int ld, int rows_per_part, int accumulate) {
  sum_columns(x, out, rows, n, ld, rows_per_part, accumulate);
}

// The gradient of a ReLU whose result is y, in place, and its sums.
extern "C" __global__ void __launch_bounds__(256)
mask_and_sum(const Element* y, Element* dy, float* out, int rows, int n, int rows_per_part, int accumulate) {
  __shared__ Sums<1> parts[COLUMN_WARPS][32];
  const Columns columns(rows, n, rows_per_part);
  const int count = n - columns.first;
  struct Row {
    Vec<Element, PIECE> seen, slope;
    long long at;
    bool whole;
  };
  Sums<1> sum = {};
  const auto add = [&](const Row& row) {
    Vec<float, PIECE> values;
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      values.at[i] = to_float(row.slope.at[i]) * relu_slope(to_float(row.seen.at[i]));
      sum.at[0][i] += values.at[i];
    }
    store<PIECE>(dy + row.at, Rounded<Element>::from(values), count, row.whole);
  };
  columns.each<2>(
      n, rows_aligned<PIECE>(y, n) && rows_aligned<PIECE>(dy, n),
      [&](int row, int count, bool whole) {
        const long long at = (long long)row * n + columns.first;
        return Row{load<PIECE>(y + at, count, whole), load<PIECE>(dy + at, count, whole), at, whole};
      },
      [&](const Row (&both)[2]) {
        add(both[0]);
        add(both[1]);
      },
      add);
  sum = fold(sum, columns, parts);
  if (int(threadIdx.x) < columns.across)
    write_columns(out + (long long)blockIdx.y * n + columns.first, sum.at[0], count, accumulate);
}

// The parts that column_sum or a product's epilogue have left, which are float whatever Element is.
extern "C" __global__ void __launch_bounds__(256)
sum_rows(const float* x, float* out, int rows, int n, int rows_per_part, int accumulate) {
  sum_columns(x, out, rows, n, n, rows_per_part, accumulate);
}

// What the blocks of a normalization's gradient have left: sums of dy z and, unless second is null, of dy. A warp takes
// every 16th part of 32 columns, then the first adds up what all have.
extern "C" __global__ void __launch_bounds__(512)
sum_parts(const float* x, float* first, float* second, int parts, int n, int adds_first, int adds_second) {
  constexpr int WARPS = 16;
  __shared__ float sums[WARPS][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = blockIdx.x * 32 + lane;
  const float* from = x + (long long)blockIdx.y * parts * n + column;
  float sum = 0;
  if (column < n) {
#pragma unroll 4
    for (int part = warp; part < parts; part += WARPS) sum += from[(long long)part * n];
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= n) return;
#pragma unroll
  for (int i = 1; i < WARPS; i++) sum += sums[i][lane];
  float* out = (blockIdx.y ? second : first) + column;
  *out = (blockIdx.y ? adds_second : adds_first) ? *out + sum : sum;
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

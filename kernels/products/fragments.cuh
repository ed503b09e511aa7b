// Conversion of the layout of tensor-core sums to rows of neighbors.
// Of 8 columns, each lane of four neighbors (t = lane % 4) holds two, 2t and 2t + 1, in rows lane / 4 and lane / 4 + 8
// of a slab of 16: sums[slab][8 columns][2 * (row half) + (0 or 1)]. Written like this, a bf16 row would go out in
// pieces of 4 bytes. So lanes trade until each has a piece of 16 bytes, and in one store four lanes fill 64 bytes of a
// row: whole sectors of memory (32 bytes). For bf16 that is 8 columns, traded among four lanes; for float 4, between two.
#pragma once
#include "products/epilogue.cuh"

// N neighbors in a row of a warp's part.
template <int N>
struct Piece {
  int row, col;  // of the first, in that part
  float at[N];
};

// The piece that this lane gets of 8 rows (number i) of N / 2 groups of 8 columns. Every lane of the warp calls it.
template <int N, int SLABS, int GROUPS>
__device__ __forceinline__ Piece<N> trade_pairs(const float (&sums)[SLABS][GROUPS][4], int i, int group) {
  constexpr int LANES = N / 2;  // that trade: lane t of them has pair t of each of as many groups, and gets group t
  static_assert(LANES == 2 || LANES == 4, "four lanes hold 8 columns");
  static_assert(GROUPS % LANES == 0, "lanes trade whole groups");
  const int lane = threadIdx.x % 32;
  Piece<N> x = {8 * i + lane / 4, 8 * (group + lane % LANES) + N * (lane % 4 / LANES)};
#pragma unroll
  for (int j = 0; j < N; j++) x.at[j] = sums[i / 2][group + j / 2][2 * (i % 2) + j % 2];
#pragma unroll
  for (int bit = 1; bit < LANES; bit *= 2) {
    const bool upper = lane & bit;
#pragma unroll
    for (int j = 0; j < N; j++) {
      if (j / 2 & bit) continue;  // groups without the bit and with it, two by two
      const float got = __shfl_xor_sync(~0u, upper ? x.at[j] : x.at[j + 2 * bit], bit);
      if (upper)
        x.at[j] = got;
      else
        x.at[j + 2 * bit] = got;
    }
  }
  return x;
}

// Column sums, or moments, whose slabs are the rows of a warp; group_columns.cuh has those of four warps.
struct WarpColumns {
  template <int N>
  using Totals = ColumnTotals<N>;
  template <int SLAB, int N, class Input, class Output>
  __device__ __forceinline__ void take(ColumnTotals<N>& totals, const Gemm<Input, Output>& gemm, int index, int row,
                                       int col, int first) const {
    totals.template write<SLAB>(gemm, index, row, col + first);
  }
  template <class Input, class Output>
  __device__ __forceinline__ void finish(const Gemm<Input, Output>&, int, int, int) const {}
};

// Finish all sums of a warp, 16 SLABS rows and 8 GROUPS columns; row and col are its first. Every lane of the warp calls
// it, and all threads that `columns` is for.
template <int SLABS, int GROUPS, class Input, class Output, class Rows = Straight, class Columns = WarpColumns>
__device__ __forceinline__ void finish_fragments(const Gemm<Input, Output>& gemm, int index, int split, int row,
                                                 int col, const float (&sums)[SLABS][GROUPS][4],
                                                 const Rows& rows = Rows(), const Columns& columns = Columns()) {
  if (gemm.splits > 1) {
    constexpr int N = 16 / sizeof(float);  // what is kept is float
    const Epilogue<N, Input, Output> finish(gemm, index);
#pragma unroll
    for (int group = 0; group < GROUPS; group += N / 2)
#pragma unroll
      for (int i = 0; i < 2 * SLABS; i++) {
        const Piece<N> x = trade_pairs<N>(sums, i, group);
        finish.keep(split, row + x.row, col + x.col, x.at);
      }
    return;
  }
  constexpr int N = 16 / sizeof(Output);
  const Epilogue<N, Input, Output, Rows> finish(gemm, index, rows);
#pragma unroll
  for (int group = 0; group < GROUPS; group += N / 2) {
    typename Columns::template Totals<N> totals;
    int first = 0;
#pragma unroll
    for (int i = 0; i < 2 * SLABS; i++) {
      Piece<N> x = trade_pairs<N>(sums, i, group);
      first = x.col;
      finish(row + x.row, col + first, x.at);
      totals.add(x.at, i == 0, row + x.row < gemm.m);
    }
    if (gemm.column_sums) columns.template take<16 * SLABS>(totals, gemm, index, row, col, first);
  }
  if (gemm.column_sums) columns.finish(gemm, index, row, col);
}

// Write sums as they are, in pairs; row and col are the warp's first.
template <int GROUPS>
__device__ __forceinline__ void write_fragments(float* out, int m, int n, int row, int col,
                                                const float (&sums)[GROUPS][4]) {
  const bool aligned = rows_aligned<2>(out, n);
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < GROUPS; j++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int at_row = row + 8 * half + lane / 4, at_col = col + 8 * j + 2 * (lane % 4);
      const Vec<float, 2> pair = {sums[j][2 * half], sums[j][2 * half + 1]};
      store<2>(out + (long long)at_row * n + at_col, pair, at_row < m ? n - at_col : 0, aligned);
    }
}

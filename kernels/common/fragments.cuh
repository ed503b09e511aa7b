// Conversion of the layout of tensor-core sums to rows of neighbors.
// Of 8 columns, each lane of four neighbors (t = lane % 4) holds two, 2t and 2t + 1, in rows lane / 4 and lane / 4 + 8
// of a slab of 16: sums[slab][8 columns][2 * (row half) + (0 or 1)]. Written like this, a bf16 row would go out in
// pieces of 4 bytes. So four lanes trade, and each gets 8 neighbors of a row.
#pragma once
#include "epilogue.cuh"

// Lane t holds pair t of four groups, x[2 g] and x[2 g + 1] of group g; it gets the four pairs of group t.
__device__ __forceinline__ void trade_pairs(float (&x)[8]) {
#pragma unroll
  for (int bit = 1; bit <= 2; bit *= 2) {
    const bool upper = threadIdx.x & bit;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      if (i / 2 & bit) continue;  // groups without the bit and with it, two by two
      const float got = __shfl_xor_sync(~0u, upper ? x[i] : x[i + 2 * bit], bit);
      if (upper)
        x[i] = got;
      else
        x[i + 2 * bit] = got;
    }
  }
}

// Finish all sums of a warp, 16 SLABS rows (which are one slab of column sums) and 8 GROUPS columns; row and col are
// its first. Every lane of the warp calls it.
template <int SLABS, int GROUPS, class Input, class Output>
__device__ __forceinline__ void finish_fragments(const Gemm<Input, Output>& gemm, int index, int split, int row,
                                                 int col, float (&sums)[SLABS][GROUPS][4]) {
  static_assert(GROUPS % 4 == 0, "lanes trade over four groups of 8 columns");
  const Epilogue<8, Input, Output> finish(gemm, index);
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int group = 0; group < GROUPS; group += 4) {
    const int first = col + 8 * (group + lane % 4);
    float totals[8] = {};
#pragma unroll
    for (int i = 0; i < 2 * SLABS; i++) {
      float x[8];
#pragma unroll
      for (int j = 0; j < 8; j++) x[j] = sums[i / 2][group + j / 2][2 * (i % 2) + j % 2];
      trade_pairs(x);
      if (gemm.splits > 1) {
        finish.keep(split, row + 8 * i + lane / 4, first, x);
        continue;
      }
      finish(row + 8 * i + lane / 4, first, x);
#pragma unroll
      for (int j = 0; j < 8; j++) totals[j] += x[j];
    }
    if (gemm.column_sums && gemm.splits <= 1) finish.template write_column_sums<16 * SLABS>(row, first, totals);
  }
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

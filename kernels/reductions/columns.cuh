// Reduction down the columns of a matrix by a block of 256. `across` lanes of a warp (a power of two) are side by side,
// a piece of columns each; all others take other rows. So with few columns, as images of few channels have, no lane is
// idle. Partial results meet by shuffles, then in shared memory, in an order that never changes: the same bits every
// time.
#pragma once
#include "common/elements.cuh"

constexpr int COLUMN_WARPS = 8, BLOCK_COLUMNS = 32 * PIECE;

// Which columns this thread has, and which rows of a part of the rows.
struct Columns {
  int across, first, row, apart, stop;
  __device__ __forceinline__ Columns(int rows, int n, int rows_per_part, int part = blockIdx.y) {
    int doublings = 0;
    while (doublings < 5 && (PIECE << doublings) < n) doublings++;
    across = 1 << doublings;
    first = blockIdx.x * BLOCK_COLUMNS + (threadIdx.x & (across - 1)) * PIECE;
    row = part * rows_per_part + (threadIdx.x >> doublings);
    apart = 32 * COLUMN_WARPS >> doublings;
    stop = min(rows, (part + 1) * rows_per_part);
  }
  // add(rows) for each `several` rows of this thread, then add_one(row) for the rest, and for all where they are not
  // `whole`: 16 bytes each. read(row, count, whole) makes a row of `count` columns. All are in registers before one is
  // added: 64 bytes under way in each thread are enough with 4 blocks on a multiprocessor.
  template <int several, class Read, class Add, class AddOne>
  __device__ __forceinline__ void each(int n, bool whole, Read read, Add add, AddOne add_one) const {
    int at = row;
    const int count = n - first;
    if (!whole || count < PIECE) {
#pragma unroll 1
      for (; at < stop; at += apart) add_one(read(at, count, false));
      return;
    }
#pragma unroll 1
    for (; at + (several - 1) * apart < stop; at += several * apart) {
      decltype(read(0, 0, true)) rows[several];
#pragma unroll
      for (int i = 0; i < several; i++) rows[i] = read(at + i * apart, PIECE, true);
      add(rows);
    }
#pragma unroll 1
    for (; at < stop; at += apart) add_one(read(at, PIECE, true));
  }
};

// The states of all rows of each column, in the threads below columns.across. A State can merge another, and fetch that
// of another lane.
template <class State>
__device__ __forceinline__ State fold(State mine, const Columns& columns, State (&parts)[COLUMN_WARPS][32]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int apart = 16; apart >= columns.across; apart /= 2) mine.merge(mine.of_lane(apart));
  parts[warp][lane] = mine;
  __syncthreads();
  if (warp == 0)
    for (int i = 1; i < COLUMN_WARPS; i++) mine.merge(parts[i][lane]);
  return mine;
}

// Sums of KINDS things for each column.
template <int KINDS>
struct Sums {
  float at[KINDS][PIECE];
  __device__ __forceinline__ void merge(const Sums& other) {
#pragma unroll
    for (int k = 0; k < KINDS; k++)
#pragma unroll
      for (int i = 0; i < PIECE; i++) at[k][i] += other.at[k][i];
  }
  __device__ __forceinline__ Sums of_lane(int apart) const {
    Sums other;
#pragma unroll
    for (int k = 0; k < KINDS; k++)
#pragma unroll
      for (int i = 0; i < PIECE; i++) other.at[k][i] = __shfl_xor_sync(~0u, at[k][i], apart);
    return other;
  }
};

// The sums of this thread's rows of x, which are ld elements apart.
template <class T>
__device__ __forceinline__ Sums<1> sum_of_rows(const T* x, int n, int ld, const Columns& columns) {
  constexpr int SEVERAL = 4;
  Sums<1> sum = {};
  const auto add = [&](const Vec<T, PIECE>& terms) {
#pragma unroll
    for (int i = 0; i < PIECE; i++) sum.at[0][i] += to_float(terms.at[i]);
  };
  columns.each<SEVERAL>(
      n, rows_aligned<PIECE>(x, ld),
      [&](int row, int count, bool whole) {
        return load<PIECE>(x + (long long)row * ld + columns.first, count, whole);
      },
      [&](const Vec<T, PIECE> (&several)[SEVERAL]) {
#pragma unroll
        for (int i = 0; i < SEVERAL; i++) add(several[i]);
      },
      add);
  return sum;
}

// Write, or add, up to 4 values of a column's neighbors.
__device__ __forceinline__ void write_columns(float* to, const float (&x)[PIECE], int count, bool accumulate) {
#pragma unroll
  for (int i = 0; i < PIECE; i++)
    if (i < count) to[i] = accumulate ? to[i] + x[i] : x[i];
}

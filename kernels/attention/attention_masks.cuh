// Attention by mma.sync: masks of a warp's scores, 16 SLABS rows and 8 COLUMNS columns in the layout of mma's sums. A
// lane
// has two rows of each slab: row 2 i is lane / 4 of slab i, row 2 i + 1 is 8 further on. Of 8 columns it has 2t and 2t
// + 1, t = lane % 4.
#pragma once
#include "attention/attention.cuh"

#ifndef DROPS
#define DROPS 0  // 1: with dropout, whose masks take time and registers
#endif

// The place of row number `row` of this lane among those of its warp.
__device__ __forceinline__ int row_of(int row) { return 16 * (row / 2) + 8 * (row % 2) + threadIdx.x % 32 / 4; }

// What the rows of a warp see, in shared memory: few tiles need more than its bounds, and registers are rare.
template <int ROWS>
struct WarpSight {
  const Interval* seen;  // of its ROWS rows

  // Of `count` columns from `first` on: whether no row sees any; whether each row sees all.
  __device__ __forceinline__ bool none(int first, int count) const {
    return first >= seen[ROWS - 1].end || first + count <= seen[0].begin;
  }
  __device__ __forceinline__ bool all(int first, int count) const {
    return first >= seen[ROWS - 1].begin && first + count <= seen[0].end;
  }
};

// -infinity in place of scores whose column, counted from `first`, is outside of what the row sees.
template <int SLABS, int COLUMNS>
__device__ __forceinline__ void hide(float (&scores)[SLABS][COLUMNS][4], const WarpSight<16 * SLABS>& sight,
                                     int first) {
#pragma unroll
  for (int row = 0; row < 2 * SLABS; row++) {
    const Interval own = sight.seen[row_of(row)];
    const int before = first + 2 * int(threadIdx.x % 4), begin = own.begin - before, end = own.end - before;
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float& score = scores[row / 2][j][row % 2 * 2 + e];
        score = 8 * j + e >= begin && 8 * j + e < end ? score : minus_infinity();
      }
  }
}

// 0 in place of what is dropped, where rows are queries from `first_query` on, and columns keys from the beginning of
// tick `first_tick` on. Each of four lanes draws a part of the ticks of their two rows.
template <int SLABS, int COLUMNS>
__device__ __forceinline__ void drop_keys(float (&values)[SLABS][COLUMNS][4], const HeadMasks& masks, int first_query,
                                          int first_tick) {
  constexpr int TICKS = 8 * COLUMNS / TICK, DRAWS = TICKS / 2;  // of a row; of a lane
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < SLABS; i++) {
    unsigned drawn[DRAWS];
#pragma unroll
    for (int draw = 0; draw < DRAWS; draw++) {
      const int number = 4 * draw + lane % 4;
      drawn[draw] = masks.kept(first_query + row_of(2 * i) + 8 * (number / TICKS), first_tick + number % TICKS);
    }
#pragma unroll
    for (int number = 0; number < 2 * TICKS; number++) {
      const unsigned kept = __shfl_sync(~0u, drawn[number / 4], lane / 4 * 4 + number % 4) >> lane % 4 * 2;
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float& value = values[i][number % TICKS * 2 + e / 2][number / TICKS * 2 + e % 2];
        value = kept >> (e / 2 * 8 + e % 2) & 1 ? value : 0;
      }
    }
  }
}

// Whether elements of 16 keys, the rows of one slab, which are a tick, are kept for queries, the columns.
template <int COLUMNS>
class KeptQueries {
 public:
  __device__ __forceinline__ KeptQueries(const HeadMasks& masks, long long first_query, int tick) {
#pragma unroll
    for (int i = 0; i < DRAWS; i++)
      drawn_[i] = DROPS ? masks.kept(first_query + 32 * i + threadIdx.x % 32, tick) : ~0u;
  }
  // Of this lane's column 2t + e of group j: bit 0 is its first row, bit 8 the second one. All lanes call it.
  __device__ __forceinline__ unsigned of(int j, int e) const {
    const int lane = threadIdx.x % 32;
    return __shfl_sync(~0u, drawn_[j / 4], (8 * j + 2 * (lane % 4) + e) % 32) >> lane / 4;
  }

 private:
  static constexpr int DRAWS = COLUMNS / 4;
  static_assert(COLUMNS % 4 == 0, "lanes draw for 32 queries at a time");
  unsigned drawn_[DRAWS];
};

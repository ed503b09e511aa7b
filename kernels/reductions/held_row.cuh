// A row of a matrix in the registers of the threads that share it: read once, used as often as needed.
//     ROW_WARPS 1: a warp for each of a block's 8 rows; else a block of so many warps for each. A thread holds
//     ROW_PIECES pieces of 16 bytes, so that a row has up to 32 ROW_WARPS ROW_PIECES PIECE elements. All of them are
//     loaded before the first is used. ROW_PIECES 0: rows are too long (long_rows.cuh).
#pragma once
#include "common/elements.cuh"
#include "reductions/row_threads.cuh"

#ifndef ROW_WARPS
#define ROW_WARPS 1
#endif
#ifndef ROW_PIECES
#define ROW_PIECES 1
#endif
constexpr int BLOCK_ROWS = ROW_WARPS == 1 ? 8 : 1;  // a barrier of the block is one of the row
constexpr int THREADS = 32 * ROW_WARPS * BLOCK_ROWS;
using Threads = RowThreads<ROW_WARPS>;

// The first element of piece p of this thread.
__device__ __forceinline__ int place_of(int p) { return (p * Threads::LANES + Threads::lane()) * PIECE; }

#if ROW_PIECES > 0  // else long_rows.cuh

// A row of T, with zeros behind its end. `whole`: all rows begin at 16 bytes, and c is a multiple of PIECE; else
// elements are moved one by one.
template <class T>
struct HeldRow {
  Vec<T, PIECE> at[ROW_PIECES];

  __device__ __forceinline__ void load(const T* row, int c, bool whole) {
    if (whole) {
#pragma unroll
      for (int p = 0; p < ROW_PIECES; p++)
        at[p] = place_of(p) < c ? ::load<PIECE>(row + place_of(p), PIECE, true) : Vec<T, PIECE>{};
    } else {
#pragma unroll
      for (int p = 0; p < ROW_PIECES; p++) at[p] = ::load<PIECE>(row + place_of(p), c - place_of(p), false);
    }
  }
  __device__ __forceinline__ void store(T* row, int c, bool whole) const {
    if (whole) {
#pragma unroll
      for (int p = 0; p < ROW_PIECES; p++)
        if (place_of(p) < c) ::store<PIECE>(row + place_of(p), at[p], PIECE, true);
    } else {
#pragma unroll
      for (int p = 0; p < ROW_PIECES; p++) ::store<PIECE>(row + place_of(p), at[p], c - place_of(p), false);
    }
  }
};

#endif

// Column sums, or moments, of slabs of 64 rows: those of the four warps of a warpgroup, 16 rows each, meet in shared
// memory and are added up there in one order. See epilogue.cuh for the layout of the result.
// Slabs of a warp's 16 rows would cost a fourth of the bytes of a pass over bf16, written and read again; these a
// sixteenth.
#pragma once
#include "common/ptx/named_barrier.cuh"
#include "products/epilogue.cuh"
#include "products/scatter.cuh"

// WIDTH columns of a warpgroup's part of a tile. Made for each tile, by all threads of the warpgroup.
template <int WIDTH>
class GroupColumns {
 public:
  static constexpr int WARPS = 4, WARP_ROWS = 16, ROWS = WARPS * WARP_ROWS, THREADS = 32 * WARPS;
  static constexpr int FLOATS = (COLUMN_MOMENTS ? 2 : 1) * WARPS * WIDTH;  // of `memory`

  // name: of a barrier that no others use; left: rows of the matrix from the group's first on, any number
  __device__ __forceinline__ GroupColumns(float* memory, int name, int left)
      : memory(memory),
        name(name),
        left(left)
#if COLUMN_MOMENTS
        ,
        counts(lane_rows())
#endif
  {
  }

  // Of a warp: lanes that hold the same columns are 4 apart, and have one row or two, 8 apart.
  template <int N>
  struct Totals {
    float sums[N];
#if COLUMN_MOMENTS
    float squares[N];
#endif
    __device__ __forceinline__ void add(const float (&x)[N], bool is_first, bool is_row) {
#pragma unroll
      for (int i = 0; i < N; i++) {
#if COLUMN_MOMENTS
        const float part = is_row && !is_first ? 0.5f : 0.f, apart = is_first ? 0 : x[i] - sums[i];
        sums[i] = is_first ? x[i] : sums[i] + apart * part;
        squares[i] = apart * apart * part;
#else
        sums[i] = is_first ? x[i] : sums[i] + x[i];
#endif
      }
    }
  };

  // Those of N columns from `first` on, in the group's part of the tile. Every lane of the warp calls it.
  template <int SLAB, int N, class Product>
  __device__ __forceinline__ void take(Totals<N>& totals, const Product&, int, int, int, int first) const {
    static_assert(SLAB == WARP_ROWS, "the rows of a warp");
#if COLUMN_MOMENTS
    const int at = scatter_moments<N>(totals.sums, totals.squares, counts);
#else
    const int at = scatter_sums<N>(totals.sums);
#endif
    if (N < 8 && threadIdx.x & 4) return;  // two lanes have the same
    float* to = memory + warp() * WIDTH + first + at;
    to[0] = totals.sums[0];
#if COLUMN_MOMENTS
    to[WARPS * WIDTH] = totals.squares[0];
#endif
  }

  // After all columns: write the slab in which `row` of this warp is. All threads of the group call it.
  template <class Input, class Output>
  __device__ __forceinline__ void finish(const Gemm<Input, Output>& gemm, int index, int row, int col) const {
    named_barrier_wait<THREADS>(name);
    float* to = slab_of<ROWS>(gemm, index, row) + col;
    if (left > 0)
#pragma unroll
      for (int first = 0; first < WIDTH; first += THREADS) {
        const int at = first + threadIdx.x % THREADS;
        if (at < WIDTH && col + at < gemm.n) write(gemm, to + at, memory + at);
      }
    named_barrier_wait<THREADS>(name);  // the next tile's may be written there
  }

 private:
  float* const memory;
  const int name, left;
#if COLUMN_MOMENTS
  const RowCounts counts;
#endif

  static __device__ __forceinline__ int warp() { return threadIdx.x / 32 % WARPS; }
  __device__ __forceinline__ int lane_rows() const {
    const int mine = left - warp() * WARP_ROWS - int(threadIdx.x % 32) / 4;
    return (mine > 0) + (mine > 8);
  }

  template <class Product>
  __device__ __forceinline__ void write(const Product& gemm, float* to, const float* from) const {
    float sum = from[0];
#if COLUMN_MOMENTS
    float squares = from[WARPS * WIDTH], count = min(left, WARP_ROWS);
#pragma unroll
    for (int i = 1; i < WARPS; i++) {
      const float rows = min(max(left - i * WARP_ROWS, 0), WARP_ROWS), both = count + rows, part = rows / both;
      const float apart = from[i * WIDTH] - sum;
      sum += apart * part;
      squares += from[(WARPS + i) * WIDTH] + apart * apart * count * part;
      count = both;
    }
    to[(long long)gemm.batch * gemm.n] = squares;
#else
#pragma unroll
    for (int i = 1; i < WARPS; i++) sum += from[i * WIDTH];
#endif
    to[0] = sum;
  }
};

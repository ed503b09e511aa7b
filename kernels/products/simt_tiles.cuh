// The main loop of products in fp32 on ordinary cores. What brings a tile is a policy: Loader here, for matrices;
// gather.cuh's for images. Given before: TILE_M, TILE_N, TILE_K, WARP_M, WARP_N, THREADS; TRANSPOSE_A and TRANSPOSE_B say
// how tiles lie in memory.
//
// Three levels, each reusing the data of the level above: a block's tile of A and B in shared memory, a
// warp's part of the tile, a lane's pieces of 4 x 4 in registers. The next tile is on its way from global memory, in
// registers, while this one is multiplied; shared memory holds two, so one barrier a step is enough.
#pragma once
#include "common/vec.cuh"
#include "products/epilogue.cuh"
#include "products/gemm.cuh"

constexpr int PIECE = 4;                              // a lane's piece is PIECE x PIECE: one float4 of A, one of B
constexpr int LANE_ROWS = 8, LANE_COLS = 4;           // the arrangement of the lanes of a warp
constexpr int STEP_M = LANE_ROWS * PIECE;             // rows that a warp covers with one piece a lane
constexpr int STEP_N = LANE_COLS * PIECE;             // and columns
constexpr int PIECES_M = WARP_M / STEP_M, PIECES_N = WARP_N / STEP_N;
constexpr int PAD = 4;  // a transposing store then hits 32 banks: neighbors in k are 4 (TILE + PAD) = 16 banks apart

static_assert(LANE_ROWS == 8 && LANE_COLS == 4, "a warp has 32 lanes, and column sums run over lanes 4 apart");
static_assert(TILE_M % WARP_M == 0 && TILE_N % WARP_N == 0, "warps cover the tile");
static_assert(WARP_M % STEP_M == 0 && WARP_N % STEP_N == 0, "lanes cover the warp's part");
static_assert(TILE_K % PIECE == 0, "a row of the tile is whole float4s in k");
static_assert(TILE_M * TILE_K % (THREADS * PIECE) == 0, "threads share the loads of A evenly");
static_assert(TILE_N * TILE_K % (THREADS * PIECE) == 0, "threads share the loads of B evenly");
static_assert(2 * TILE_K * (TILE_M + TILE_N + 2 * PAD) * 4 <= 48 * 1024, "static shared memory ends at 48 KB");

// A tile of A or B (EXTENT rows or columns, TILE_K deep) on its way to shared memory as tile[k][row or column].
// K_CONTIGUOUS is the layout of what is loaded: neighbors in memory are neighbors in k, or in the other dimension.
template <int EXTENT, bool K_CONTIGUOUS>
class Held {
 public:
  using Tile = float[TILE_K][EXTENT + PAD];

  __device__ __forceinline__ void store_to(Tile& tile) const {  // registers to shared memory
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      const int row = across() + i * APART, col = along();
      if (K_CONTIGUOUS) {
#pragma unroll
        for (int j = 0; j < PIECE; j++) tile[col + j][row] = held_[i].at[j];
      } else {
        store<PIECE>(&tile[row][col], held_[i], PIECE, true);
      }
    }
  }

 protected:
  static constexpr int LOADS = EXTENT * TILE_K / PIECE / THREADS;
  static constexpr int ACROSS = (K_CONTIGUOUS ? TILE_K : EXTENT) / PIECE;  // pieces along a row of memory
  static constexpr int APART = THREADS / ACROSS;                           // rows between a thread's loads
  static_assert(THREADS % ACROSS == 0, "all loads of a thread lie in one column");

  Vec<float, PIECE> held_[LOADS];

  static __device__ __forceinline__ int along() { return threadIdx.x % ACROSS * PIECE; }
  static __device__ __forceinline__ int across() { return threadIdx.x / ACROSS; }
};

// Brings tiles of a matrix.
template <int EXTENT, bool K_CONTIGUOUS>
class Loader : public Held<EXTENT, K_CONTIGUOUS> {
  using Base = Held<EXTENT, K_CONTIGUOUS>;
  using Base::across, Base::along, Base::held_, Base::LOADS, Base::APART;

 public:
  // Loads up to `depth`: from there on, zeros.
  __device__ __forceinline__ Loader(const float* matrix, int ld, int first, int extent, int depth)
      : from_(matrix + (across() + (K_CONTIGUOUS ? first : 0)) * (long long)ld + along() + (K_CONTIGUOUS ? 0 : first)),
        ld_(ld),
        depth_(depth),
        extent_left_(extent - first - (K_CONTIGUOUS ? across() : along())),
        aligned_(rows_aligned<PIECE>(matrix, ld)) {}

  __device__ __forceinline__ void fetch(int k0) {  // the tile at depth k0: global memory to registers
    const long long along_k = K_CONTIGUOUS ? k0 : k0 * (long long)ld_;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      const int inner = K_CONTIGUOUS ? depth_ - k0 - along() : extent_left_;
      const int outer = K_CONTIGUOUS ? extent_left_ : depth_ - k0 - across();
      held_[i] = load<PIECE>(from_ + along_k + i * APART * (long long)ld_, i * APART < outer ? inner : 0, aligned_);
    }
  }

 private:
  const float* from_;
  const int ld_, depth_;
  const int extent_left_;  // rows or columns of the matrix from this thread's first load on
  const bool aligned_;
};

using LoaderA = Loader<TILE_M, !TRANSPOSE_A>;
using LoaderB = Loader<TILE_N, TRANSPOSE_B>;
using Sums = float[PIECES_M][PIECES_N][PIECE][PIECE];

// sums += the products of one pair of tiles; row and col are this lane's first in them.
__device__ __forceinline__ void multiply(Sums& sums, const LoaderA::Tile& a_tile, const LoaderB::Tile& b_tile, int row,
                                         int col) {
#pragma unroll
  for (int k = 0; k < TILE_K; k++) {
    Vec<float, PIECE> a[PIECES_M], b[PIECES_N];
#pragma unroll
    for (int i = 0; i < PIECES_M; i++) a[i] = load<PIECE>(&a_tile[k][row + i * STEP_M], PIECE, true);
#pragma unroll
    for (int j = 0; j < PIECES_N; j++) b[j] = load<PIECE>(&b_tile[k][col + j * STEP_N], PIECE, true);
#pragma unroll
    for (int i = 0; i < PIECES_M; i++)
#pragma unroll
      for (int j = 0; j < PIECES_N; j++)
#pragma unroll
        for (int r = 0; r < PIECE; r++)
#pragma unroll
          for (int c = 0; c < PIECE; c++) sums[i][j][r][c] += a[i].at[r] * b[j].at[c];
  }
}

// sums += the products of all pairs of tiles of a part of K.
template <class A, class B>
__device__ __forceinline__ void multiply_tiles(Sums& sums, A& a_loader, B& b_loader, LoaderA::Tile (&a_tiles)[2],
                                               LoaderB::Tile (&b_tiles)[2], Depth depth, int row, int col) {
  a_loader.fetch(depth.first);
  b_loader.fetch(depth.first);
  a_loader.store_to(a_tiles[0]);
  b_loader.store_to(b_tiles[0]);
  __syncthreads();
  for (int k0 = depth.first, now = 0; k0 < depth.stop; k0 += TILE_K, now ^= 1) {
    const bool more = k0 + TILE_K < depth.stop;
    if (more) {
      a_loader.fetch(k0 + TILE_K);
      b_loader.fetch(k0 + TILE_K);
    }
    multiply(sums, a_tiles[now], b_tiles[now], row, col);
    if (more) {
      a_loader.store_to(a_tiles[now ^ 1]);
      b_loader.store_to(b_tiles[now ^ 1]);
    }
    __syncthreads();
  }
}

// Finish all sums of a warp, whose first row is warp_row; row and col are this lane's first, in the matrix.
template <class Rows = Straight>
__device__ __forceinline__ void finish_pieces(const Gemm<float, float>& gemm, int index, int split, int warp_row,
                                              int row, int col, Sums& sums, const Rows& rows = Rows()) {
  const Epilogue<PIECE, float, float, Rows> finish(gemm, index, rows);
#pragma unroll
  for (int j = 0; j < PIECES_N; j++) {
    const int out_col = col + j * STEP_N;
    ColumnTotals<PIECE> totals;
#pragma unroll
    for (int i = 0; i < PIECES_M * PIECE; i++) {
      const int out_row = row + i / PIECE * STEP_M + i % PIECE;
      float(&x)[PIECE] = sums[i / PIECE][j][i % PIECE];
      if (gemm.splits > 1) {
        finish.keep(split, out_row, out_col, x);
        continue;
      }
      finish(out_row, out_col, x);
      totals.add(x, i == 0, out_row < gemm.m);
    }
    if (gemm.column_sums && gemm.splits <= 1) totals.write<WARP_M>(gemm, index, warp_row, out_col);
  }
}

// Where a thread works: the first row of its warp's part of a tile, and its own first row and column.
struct LanePlace {
  int warp_row, row, col;
  __device__ __forceinline__ LanePlace() {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    warp_row = warp / (TILE_N / WARP_N) * WARP_M;
    row = warp_row + lane / LANE_COLS * PIECE;
    col = warp % (TILE_N / WARP_N) * WARP_N + lane % LANE_COLS * PIECE;
  }
};

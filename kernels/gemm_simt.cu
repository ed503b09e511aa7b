// Matrix product in fp32 on ordinary cores, any arch: out = epilogue(alpha A B + beta C)
// Shapes: A (M, K), B (K, N), C, out, pre (M, N), row-major with leading dims; bias (N,). See common/gemm.cuh.
// Launch: grid (tiles of out, splits, batch), THREADS per block; one tile of TILE_M x TILE_N per block; slabs of WARP_M
// Roofline: 2MNK operations for 4 (MK + KN + 2MN) bytes; compute-bound from about 128^3 up, on shared-memory bandwidth
//     and issue slots. Oracle: ops/matmul.py. Source: Boehm 2022, "How to Optimize a CUDA Matmul Kernel";
//     Kerr et al. 2017, "CUTLASS". The steps that lead here: ladder/gemm_01_naive.cu and after.
//
// Three levels, each reusing the data of the level above: a block's tile of A and B in shared memory, a
// warp's part of the tile, a lane's pieces of 4 x 4 in registers. The next tile is on its way from global memory, in
// registers, while this one is multiplied; shared memory holds two, so one barrier a step is enough.
#include "common/epilogue.cuh"
#include "common/gemm.cuh"
#include "common/vec.cuh"

#ifndef TILE_M
#define TILE_M 128
#define TILE_N 128
#define TILE_K 8
#define WARP_M 64
#define WARP_N 32
#endif
#ifndef MIN_BLOCKS
#define MIN_BLOCKS 2
#endif
#define THREADS (TILE_M / WARP_M * (TILE_N / WARP_N) * 32)

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

// Brings a tile of A or B (EXTENT rows or columns, TILE_K deep) to shared memory as tile[k][row or column].
// K_CONTIGUOUS is the layout of the matrix: neighbors in memory are neighbors in k, or in the other dimension.
template <int EXTENT, bool K_CONTIGUOUS>
class Loader {
 public:
  using Tile = float[TILE_K][EXTENT + PAD];

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

 private:
  static constexpr int LOADS = EXTENT * TILE_K / PIECE / THREADS;
  static constexpr int ACROSS = (K_CONTIGUOUS ? TILE_K : EXTENT) / PIECE;  // pieces along a row of memory
  static constexpr int APART = THREADS / ACROSS;                           // rows between a thread's loads
  static_assert(THREADS % ACROSS == 0, "all loads of a thread lie in one column");

  const float* from_;
  const int ld_, depth_;
  const int extent_left_;  // rows or columns of the matrix from this thread's first load on
  const bool aligned_;
  Vec<float, PIECE> held_[LOADS];

  static __device__ __forceinline__ int along() { return threadIdx.x % ACROSS * PIECE; }
  static __device__ __forceinline__ int across() { return threadIdx.x / ACROSS; }
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

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) gemm_simt(const Gemm<float, float> gemm) {
  __shared__ __align__(16) LoaderA::Tile a_tiles[2];
  __shared__ __align__(16) LoaderB::Tile b_tiles[2];
  const TileOrigin origin = tile_origin<TILE_M, TILE_N>(blockIdx.x, gemm.m, gemm.n);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row = warp / (TILE_N / WARP_N) * WARP_M + lane / LANE_COLS * PIECE;
  const int col = warp % (TILE_N / WARP_N) * WARP_N + lane % LANE_COLS * PIECE;
  const Depth depth = depth_of(gemm, blockIdx.y);
  LoaderA a_loader(gemm.a + blockIdx.z * gemm.a_batch, gemm.a_ld, origin.row, gemm.m, depth.stop);
  LoaderB b_loader(gemm.b + blockIdx.z * gemm.b_batch, gemm.b_ld, origin.col, gemm.n, depth.stop);
  Sums sums = {};

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

  const Epilogue<PIECE, float, float> finish(gemm, blockIdx.z);
#pragma unroll
  for (int j = 0; j < PIECES_N; j++) {
    const int out_col = origin.col + col + j * STEP_N;
    float totals[PIECE] = {};
#pragma unroll
    for (int i = 0; i < PIECES_M * PIECE; i++) {
      const int out_row = origin.row + row + i / PIECE * STEP_M + i % PIECE;
      float(&x)[PIECE] = sums[i / PIECE][j][i % PIECE];
      if (gemm.splits > 1) {
        finish.keep(blockIdx.y, out_row, out_col, x);
        continue;
      }
      finish(out_row, out_col, x);
#pragma unroll
      for (int c = 0; c < PIECE; c++) totals[c] += x[c];
    }
    if (gemm.column_sums && gemm.splits <= 1)
      finish.template write_column_sums<WARP_M>(origin.row + warp / (TILE_N / WARP_N) * WARP_M, out_col, totals);
  }
}

// Ladder 7, warp tiles: as rung 6, but each warp owns a compact 64 x 32 part of the tile
// Shapes: a (M, K), b (K, N), out (M, N), row-major, fp32; any M, N, K
// Launch: grid (ceil N / 128, ceil M / 128), block 256
// Roofline: as rung 6, without bank conflicts on the way. Oracle: ops/matmul.py. Source: Kerr et al. 2017, "CUTLASS".
//
// In rung 6 lanes form 2 x 16, each 8 columns wide: their wide loads of b start 32 bytes apart, and half of them meet
// in the same banks. Here lanes form 8 x 4 and a lane's 8 x 8 elements are four pieces of 4 x 4, 32 rows and 16 columns
// apart, so one load of a warp reads 32 neighbors of a, or 16 of b. gemm_simt.cu continues from here.
#include "common/vec.cuh"

#define TILE_M 128
#define TILE_N 128
#define TILE_K 8
#define WARP_M 64
#define WARP_N 32
#define THREADS (TILE_M / WARP_M * (TILE_N / WARP_N) * 32)
#define STEP_M 32
#define STEP_N 16
#define PIECES_M (WARP_M / STEP_M)
#define PIECES_N (WARP_N / STEP_N)
static_assert(STEP_M / 4 * (STEP_N / 4) == 32, "the lanes of a warp cover one step with pieces of 4 x 4");
static_assert(TILE_M * TILE_K == 4 * THREADS && TILE_K * TILE_N == 4 * THREADS, "a thread loads 4 of each tile");

extern "C" __global__ void __launch_bounds__(THREADS)
gemm_07_warp_tile(const float* a, const float* b, float* out, int m, int n, int k) {
  __shared__ __align__(16) float a_tile[TILE_K][TILE_M], b_tile[TILE_K][TILE_N];
  const int t = threadIdx.x, warp = t / 32, lane = t % 32;
  const int a_y = t / (TILE_K / 4), a_x = t % (TILE_K / 4) * 4;
  const int b_y = t / (TILE_N / 4), b_x = t % (TILE_N / 4) * 4;
  const int y = warp / (TILE_N / WARP_N) * WARP_M + lane / (STEP_N / 4) * 4;
  const int x = warp % (TILE_N / WARP_N) * WARP_N + lane % (STEP_N / 4) * 4;
  const int row = blockIdx.y * TILE_M, col = blockIdx.x * TILE_N;
  const bool a_aligned = rows_aligned<4>(a, k), b_aligned = rows_aligned<4>(b, n), out_aligned = rows_aligned<4>(out, n);
  float sums[4 * PIECES_M][4 * PIECES_N] = {};
  for (int k0 = 0; k0 < k; k0 += TILE_K) {
    const int a_count = row + a_y < m ? k - k0 - a_x : 0, b_count = k0 + b_y < k ? n - col - b_x : 0;
    const auto a_piece = load<4>(a + (long long)(row + a_y) * k + k0 + a_x, a_count, a_aligned);
    const auto b_piece = load<4>(b + (long long)(k0 + b_y) * n + col + b_x, b_count, b_aligned);
#pragma unroll
    for (int i = 0; i < 4; i++) a_tile[a_x + i][a_y] = a_piece.at[i];
    store<4>(&b_tile[b_y][b_x], b_piece, 4, true);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TILE_K; i++) {
      Vec<float, 4> a_values[PIECES_M], b_values[PIECES_N];
#pragma unroll
      for (int r = 0; r < PIECES_M; r++) a_values[r] = load<4>(&a_tile[i][y + STEP_M * r], 4, true);
#pragma unroll
      for (int c = 0; c < PIECES_N; c++) b_values[c] = load<4>(&b_tile[i][x + STEP_N * c], 4, true);
#pragma unroll
      for (int r = 0; r < 4 * PIECES_M; r++)
#pragma unroll
        for (int c = 0; c < 4 * PIECES_N; c++) sums[r][c] += a_values[r / 4].at[r % 4] * b_values[c / 4].at[c % 4];
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < 4 * PIECES_M; r++)
#pragma unroll
    for (int c = 0; c < 4 * PIECES_N; c += 4) {
      const Vec<float, 4> piece = {sums[r][c], sums[r][c + 1], sums[r][c + 2], sums[r][c + 3]};
      const int out_row = row + y + r / 4 * STEP_M + r % 4, out_col = col + x + c / 4 * STEP_N;
      store<4>(out + (long long)out_row * n + out_col, piece, out_row < m ? n - out_col : 0, out_aligned);
    }
}

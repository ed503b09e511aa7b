// Ladder 6, vectorized: as rung 5, but every load and store moves 4 neighbors at once
// Shapes: a (M, K), b (K, N), out (M, N), row-major, fp32; any M, N, K
// Launch: grid (ceil N / 128, ceil M / 128), block 256
// Roofline: 4 wide loads from shared memory for 128 operations. Oracle: ops/matmul.py. Source: Boehm 2022, "How to
//     Optimize a CUDA Matmul Kernel".
//
// A thread's 8 values of a form a column of the tile; so the tile of a is stored transposed, and they are neighbors.
// Where rows are not aligned to 16 bytes, or end, load and store go element by element (common/vec.cuh).
#include "common/vec.cuh"

#define TILE_M 128
#define TILE_N 128
#define TILE_K 8
#define THREAD_M 8
#define THREAD_N 8
#define THREADS (TILE_M / THREAD_M * (TILE_N / THREAD_N))
static_assert(TILE_M * TILE_K == 4 * THREADS && TILE_K * TILE_N == 4 * THREADS, "a thread loads 4 of each tile");

extern "C" __global__ void __launch_bounds__(THREADS)
gemm_06_vectorized(const float* a, const float* b, float* out, int m, int n, int k) {
  __shared__ __align__(16) float a_tile[TILE_K][TILE_M], b_tile[TILE_K][TILE_N];
  const int t = threadIdx.x;
  const int a_y = t / (TILE_K / 4), a_x = t % (TILE_K / 4) * 4;
  const int b_y = t / (TILE_N / 4), b_x = t % (TILE_N / 4) * 4;
  const int y = t / (TILE_N / THREAD_N) * THREAD_M, x = t % (TILE_N / THREAD_N) * THREAD_N;
  const int row = blockIdx.y * TILE_M, col = blockIdx.x * TILE_N;
  const bool a_aligned = rows_aligned<4>(a, k), b_aligned = rows_aligned<4>(b, n), out_aligned = rows_aligned<4>(out, n);
  float sums[THREAD_M][THREAD_N] = {};
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
      Vec<float, 4> a_values[THREAD_M / 4], b_values[THREAD_N / 4];
#pragma unroll
      for (int r = 0; r < THREAD_M / 4; r++) a_values[r] = load<4>(&a_tile[i][y + 4 * r], 4, true);
#pragma unroll
      for (int c = 0; c < THREAD_N / 4; c++) b_values[c] = load<4>(&b_tile[i][x + 4 * c], 4, true);
#pragma unroll
      for (int r = 0; r < THREAD_M; r++)
#pragma unroll
        for (int c = 0; c < THREAD_N; c++) sums[r][c] += a_values[r / 4].at[r % 4] * b_values[c / 4].at[c % 4];
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < THREAD_M; r++)
#pragma unroll
    for (int c = 0; c < THREAD_N; c += 4) {
      const Vec<float, 4> piece = {sums[r][c], sums[r][c + 1], sums[r][c + 2], sums[r][c + 3]};
      const int count = row + y + r < m ? n - col - x - c : 0;
      store<4>(out + (long long)(row + y + r) * n + col + x + c, piece, count, out_aligned);
    }
}

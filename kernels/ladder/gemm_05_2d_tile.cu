// Ladder 5, two-dimensional tile: as rung 4, but a thread computes 8 x 8 elements
// Shapes: a (M, K), b (K, N), out (M, N), row-major, fp32; any M, N, K
// Launch: grid (ceil N / 128, ceil M / 128), block 256
// Roofline: 16 loads from shared memory for 128 operations. Oracle: ops/matmul.py. Source: Boehm 2022, "How to Optimize
//     a CUDA Matmul Kernel".
//
// 8 values of a and 8 of b make 64 products: an outer product in registers. Tiles hold 4 elements per thread, which lie
// in one column, some rows apart: one test of the column and a count of rows tell which of them are in the matrix.
#define TILE_M 128
#define TILE_N 128
#define TILE_K 8
#define THREAD_M 8
#define THREAD_N 8
#define THREADS (TILE_M / THREAD_M * (TILE_N / THREAD_N))
#define A_APART (THREADS / TILE_K)
#define B_APART (THREADS / TILE_N)
static_assert(TILE_M % A_APART == 0 && TILE_K % B_APART == 0, "threads share the loads evenly");

extern "C" __global__ void __launch_bounds__(THREADS)
gemm_05_2d_tile(const float* a, const float* b, float* out, int m, int n, int k) {
  __shared__ float a_tile[TILE_M][TILE_K], b_tile[TILE_K][TILE_N];
  const int t = threadIdx.x;
  const int a_y = t / TILE_K, a_x = t % TILE_K;  // where this thread loads first
  const int b_y = t / TILE_N, b_x = t % TILE_N;
  const int y = t / (TILE_N / THREAD_N) * THREAD_M, x = t % (TILE_N / THREAD_N) * THREAD_N;
  const int row = blockIdx.y * TILE_M, col = blockIdx.x * TILE_N;
  float sums[THREAD_M][THREAD_N] = {};
  for (int k0 = 0; k0 < k; k0 += TILE_K) {
    const int a_rows = k0 + a_x < k ? m - row - a_y : 0, b_rows = col + b_x < n ? k - k0 - b_y : 0;
#pragma unroll
    for (int i = 0; i < TILE_M; i += A_APART)
      a_tile[a_y + i][a_x] = i < a_rows ? a[(long long)(row + a_y + i) * k + k0 + a_x] : 0;
#pragma unroll
    for (int i = 0; i < TILE_K; i += B_APART)
      b_tile[b_y + i][b_x] = i < b_rows ? b[(long long)(k0 + b_y + i) * n + col + b_x] : 0;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TILE_K; i++) {
      float a_values[THREAD_M], b_values[THREAD_N];
#pragma unroll
      for (int r = 0; r < THREAD_M; r++) a_values[r] = a_tile[y + r][i];
#pragma unroll
      for (int c = 0; c < THREAD_N; c++) b_values[c] = b_tile[i][x + c];
#pragma unroll
      for (int r = 0; r < THREAD_M; r++)
#pragma unroll
        for (int c = 0; c < THREAD_N; c++) sums[r][c] += a_values[r] * b_values[c];
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < THREAD_M; r++)
#pragma unroll
    for (int c = 0; c < THREAD_N; c++)
      if (row + y + r < m && col + x + c < n) out[(long long)(row + y + r) * n + col + x + c] = sums[r][c];
}

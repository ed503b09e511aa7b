// Ladder 4, one-dimensional tile: as rung 3, but a thread computes 8 elements of a column
// Shapes: a (M, K), b (K, N), out (M, N), row-major, fp32; any M, N, K
// Launch: grid (ceil N / 64, ceil M / 64), block 512
// Roofline: nine loads from shared memory for 16 operations. Oracle: ops/matmul.py. Source: Boehm 2022, "How to Optimize
//     a CUDA Matmul Kernel".
//
// An element of b, once in a register, serves 8 products. The tile is now larger than the block has threads, so
// where a thread loads and where it computes are two different questions.
#define TILE_M 64
#define TILE_N 64
#define TILE_K 8
#define THREAD_M 8
#define THREADS (TILE_M / THREAD_M * TILE_N)
static_assert(TILE_M * TILE_K == THREADS && TILE_K * TILE_N == THREADS, "a thread loads one element of each tile");

extern "C" __global__ void __launch_bounds__(THREADS)
gemm_04_1d_tile(const float* a, const float* b, float* out, int m, int n, int k) {
  __shared__ float a_tile[TILE_M][TILE_K], b_tile[TILE_K][TILE_N];
  const int t = threadIdx.x;
  const int a_y = t / TILE_K, a_x = t % TILE_K;  // where this thread loads
  const int b_y = t / TILE_N, b_x = t % TILE_N;
  const int y = t / TILE_N * THREAD_M, x = t % TILE_N;  // where it computes
  const int row = blockIdx.y * TILE_M, col = blockIdx.x * TILE_N;
  float sums[THREAD_M] = {};
  for (int k0 = 0; k0 < k; k0 += TILE_K) {
    a_tile[a_y][a_x] = row + a_y < m && k0 + a_x < k ? a[(long long)(row + a_y) * k + k0 + a_x] : 0;
    b_tile[b_y][b_x] = k0 + b_y < k && col + b_x < n ? b[(long long)(k0 + b_y) * n + col + b_x] : 0;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TILE_K; i++) {
      const float b_value = b_tile[i][x];
#pragma unroll
      for (int r = 0; r < THREAD_M; r++) sums[r] += a_tile[y + r][i] * b_value;
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < THREAD_M; r++)
    if (row + y + r < m && col + x < n) out[(long long)(row + y + r) * n + col + x] = sums[r];
}

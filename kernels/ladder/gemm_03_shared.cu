// Ladder 3, shared memory: as rung 2, but a block loads each factor once for all of its threads
// Shapes: a (M, K), b (K, N), out (M, N), row-major, fp32; any M, N, K
// Launch: grid (ceil N / 32, ceil M / 32), block (32, 32)
// Roofline: 32 times fewer loads from global memory; now two loads from shared memory for 2 operations.
//     Oracle: ops/matmul.py. Source: Kirk and Hwu, "Programming Massively Parallel Processors", tiling.
//
// The block walks along k in tiles of 32. Each thread brings one element of a and one of b, zero outside of the
// matrices. Two barriers: no thread reads before all have written, or overwrites before all have read.
#define TILE_M 32
#define TILE_N 32
#define TILE_K 32
static_assert(TILE_M == TILE_K && TILE_N == TILE_K, "a thread loads one element of each tile");

extern "C" __global__ void gemm_03_shared(const float* a, const float* b, float* out, int m, int n, int k) {
  __shared__ float a_tile[TILE_M][TILE_K], b_tile[TILE_K][TILE_N];
  const int y = threadIdx.y, x = threadIdx.x;
  const int row = blockIdx.y * TILE_M + y;
  const int col = blockIdx.x * TILE_N + x;
  float sum = 0;
  for (int k0 = 0; k0 < k; k0 += TILE_K) {
    a_tile[y][x] = row < m && k0 + x < k ? a[(long long)row * k + k0 + x] : 0;
    b_tile[y][x] = k0 + y < k && col < n ? b[(long long)(k0 + y) * n + col] : 0;
    __syncthreads();
    for (int i = 0; i < TILE_K; i++) sum += a_tile[y][i] * b_tile[i][x];
    __syncthreads();
  }
  if (row < m && col < n) out[(long long)row * n + col] = sum;
}

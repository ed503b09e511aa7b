// Ladder 2, coalesced: as rung 1, but neighboring lanes compute neighbors in a row
// Shapes: a (M, K), b (K, N), out (M, N), row-major, fp32; any M, N, K
// Launch: grid (ceil N / 32, ceil M / 32), block (32, 32)
// Roofline: a warp's load of b is one line of 128 bytes, of a one broadcast. Oracle: ops/matmul.py. Source: CUDA C++
//     Programming Guide, "Device Memory Accesses".
//
// The one change: x is the column and y the row.
#define TILE_M 32
#define TILE_N 32

extern "C" __global__ void gemm_02_coalesced(const float* a, const float* b, float* out, int m, int n, int k) {
  const int row = blockIdx.y * TILE_M + threadIdx.y;
  const int col = blockIdx.x * TILE_N + threadIdx.x;
  if (row >= m || col >= n) return;
  float sum = 0;
  for (int i = 0; i < k; i++) sum += a[(long long)row * k + i] * b[(long long)i * n + col];
  out[(long long)row * n + col] = sum;
}

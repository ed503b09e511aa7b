// Ladder 1, naive: out = a b, one thread an element
// Shapes: a (M, K), b (K, N), out (M, N), row-major, fp32; any M, N, K
// Launch: grid (ceil M / 32, ceil N / 32), block (32, 32)
// Roofline: every product loads both factors: 8 bytes for 2 operations. Oracle: ops/matmul.py. Source: the definition.
//
// threadIdx.x runs down the rows, as i does in the formula. The 32 lanes of a warp then read a and write out at 32
// addresses a row apart: 32 sectors of memory of which 4 bytes in 32 are used.
#define TILE_M 32
#define TILE_N 32

extern "C" __global__ void gemm_01_naive(const float* a, const float* b, float* out, int m, int n, int k) {
  const int row = blockIdx.x * TILE_M + threadIdx.x;
  const int col = blockIdx.y * TILE_N + threadIdx.y;
  if (row >= m || col >= n) return;
  float sum = 0;
  for (int i = 0; i < k; i++) sum += a[(long long)row * k + i] * b[(long long)i * n + col];
  out[(long long)row * n + col] = sum;
}

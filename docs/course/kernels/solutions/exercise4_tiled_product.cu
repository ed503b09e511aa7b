// Solution of exercise 4: two barriers a tile, so that no thread reads before all have written, or the other way round
// Launch: grid (ceil(n / TILE), ceil(m / TILE)), block (TILE, TILE)
#define TILE 16

extern "C" __global__ void tiled_product(const float* a, const float* b, float* out, int m, int n, int k) {
  __shared__ float a_tile[TILE][TILE], b_tile[TILE][TILE];
  const int y = threadIdx.y, x = threadIdx.x;
  const int row = blockIdx.y * TILE + y, col = blockIdx.x * TILE + x;
  float sum = 0;
  for (int k0 = 0; k0 < k; k0 += TILE) {
    a_tile[y][x] = row < m && k0 + x < k ? a[row * k + k0 + x] : 0;
    b_tile[y][x] = k0 + y < k && col < n ? b[(k0 + y) * n + col] : 0;
    __syncthreads();
    for (int i = 0; i < TILE; i++) sum += a_tile[y][i] * b_tile[i][x];
    __syncthreads();
  }
  if (row < m && col < n) out[row * n + col] = sum;
}

// Solution of exercise 5: a thread's 4 x 4 elements lie 16 rows and 16 columns apart, so that lanes read neighbors
// Launch: grid (ceil(n / TILE), ceil(m / TILE)), block (SIDE, SIDE)
#define TILE 64
#define TILE_K 16
#define EACH 4
#define SIDE (TILE / EACH)
static_assert(SIDE == TILE_K, "a thread's first indices serve both tiles");

extern "C" __global__ void register_product(const float* a, const float* b, float* out, int m, int n, int k) {
  __shared__ float a_tile[TILE][TILE_K], b_tile[TILE_K][TILE];
  const int y = threadIdx.y, x = threadIdx.x;
  const int first_row = blockIdx.y * TILE, first_col = blockIdx.x * TILE;
  float sums[EACH][EACH] = {};
  for (int k0 = 0; k0 < k; k0 += TILE_K) {
    for (int e = 0; e < EACH; e++) {
      const int row = first_row + y + SIDE * e, col = first_col + x + SIDE * e;
      a_tile[y + SIDE * e][x] = row < m && k0 + x < k ? a[row * k + k0 + x] : 0;
      b_tile[y][x + SIDE * e] = k0 + y < k && col < n ? b[(k0 + y) * n + col] : 0;
    }
    __syncthreads();
    for (int i = 0; i < TILE_K; i++) {
      float a_values[EACH], b_values[EACH];
      for (int e = 0; e < EACH; e++) a_values[e] = a_tile[y + SIDE * e][i];
      for (int e = 0; e < EACH; e++) b_values[e] = b_tile[i][x + SIDE * e];
      for (int r = 0; r < EACH; r++)
        for (int c = 0; c < EACH; c++) sums[r][c] += a_values[r] * b_values[c];
    }
    __syncthreads();
  }
  for (int r = 0; r < EACH; r++)
    for (int c = 0; c < EACH; c++) {
      const int row = first_row + y + SIDE * r, col = first_col + x + SIDE * c;
      if (row < m && col < n) out[row * n + col] = sums[r][c];
    }
}

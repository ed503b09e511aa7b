// Exercise 5, product with a tile in registers: a thread computes several elements, so a load serves more products
// Computes: out = a b; a (m, k), b (k, n), out (m, n), row-major, fp32
// Launch: grid (ceil(n / TILE), ceil(m / TILE)), block (TILE, TILE)
//
// A tiled product: right, and with few loads from global memory. Now two loads from shared memory serve each
// multiply-add. Let a thread compute EACH x EACH elements: per step it loads EACH values of a and EACH of b to
// registers, and multiplies each with each. The tiles grow: where a thread loads, and where it computes, become two
// questions. Which elements should neighboring lanes compute, so that they read neighboring words of b?
#define TILE 16

extern "C" __global__ void register_product(const float* a, const float* b, float* out, int m, int n, int k) {
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

// Exercise 4, tiled product: a block brings tiles of both factors to shared memory, and all of its threads use them
// Computes: out = a b; a (m, k), b (k, n), out (m, n), row-major, fp32
// Launch: grid (ceil(n / TILE), ceil(m / TILE)), block (TILE, TILE)
//
// The result is right, but each multiply-add fetches both of its factors from global memory. Walk along k in tiles:
// every thread brings one element of a and one of b, the block waits, multiplies the tiles, and waits again. At the
// edges a tile is filled with zeros.
#define TILE 16

extern "C" __global__ void tiled_product(const float* a, const float* b, float* out, int m, int n, int k) {
  const int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
  if (row >= m || col >= n) return;
  float sum = 0;
  for (int i = 0; i < k; i++) sum += a[row * k + i] * b[i * n + col];
  out[row * n + col] = sum;
}

// Exercise 3, transpose: out[c][r] = x[r][c]; x (rows, cols), out (cols, rows), row-major, fp32
// Launch: grid (ceil(cols / TILE), ceil(rows / TILE)), block (TILE, TILE)
#define TILE 32

extern "C" __global__ void transpose(const float* x, float* out, int rows, int cols) {
  __shared__ float tile[TILE][TILE];
  const int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
  if (row < rows && col < cols) tile[threadIdx.y][threadIdx.x] = x[row * cols + col];
  const int out_row = blockIdx.x * TILE + threadIdx.y, out_col = blockIdx.y * TILE + threadIdx.x;
  if (out_row < cols && out_col < rows) out[out_row * rows + out_col] = tile[threadIdx.x][threadIdx.y];
}

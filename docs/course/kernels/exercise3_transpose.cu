// Exercise 3, transpose: rows are read along rows, and written along rows, through a tile in shared memory
// Computes: out[c][r] = x[r][c]; x (rows, cols), out (cols, rows), row-major, fp32
// Launch: grid (ceil(cols / TILE), ceil(rows / TILE)), block (TILE, TILE)
//
// The result is right. But the lanes of a warp, whose threadIdx.x are neighbors, write a column: 32 elements that lie a
// row apart. Let the block bring a tile to shared memory, and write it out by rows of out. Then look at the banks.
#define TILE 32

extern "C" __global__ void transpose(const float* x, float* out, int rows, int cols) {
  const int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
  if (row < rows && col < cols) out[col * rows + row] = x[row * cols + col];
}

// Exercise 2, sum of a row: the threads of a block share their partial sums, and wait for each other
// Computes: out[r] = x[r][0] + ... + x[r][cols - 1]; x (rows, cols), out (rows,), row-major, fp32
// Launch: grid rows, block THREADS
//
// Each block sums a row. Its threads walk along the row together, THREADS elements at a time; then a tree adds their
// sums: the upper half to the lower half, and so on. Something is missing between its steps.
#define THREADS 256

extern "C" __global__ void row_sum(const float* x, float* out, int rows, int cols) {
  __shared__ float partial[THREADS];
  const int t = threadIdx.x, row = blockIdx.x;
  float sum = 0;
  for (int col = t; col < cols; col += THREADS) sum += x[row * cols + col];
  partial[t] = sum;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (t < half) partial[t] += partial[t + half];
  }
  if (t == 0) out[row] = partial[0];
}

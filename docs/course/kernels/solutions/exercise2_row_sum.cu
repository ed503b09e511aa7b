// Solution of exercise 2: a barrier before each step of the tree, outside of the branch
// Launch: grid rows, block THREADS
#define THREADS 256

extern "C" __global__ void row_sum(const float* x, float* out, int rows, int cols) {
  __shared__ float partial[THREADS];
  const int t = threadIdx.x, row = blockIdx.x;
  float sum = 0;
  for (int col = t; col < cols; col += THREADS) sum += x[row * cols + col];
  partial[t] = sum;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (t < half) partial[t] += partial[t + half];
    __syncthreads();
  }
  if (t == 0) out[row] = partial[0];
}

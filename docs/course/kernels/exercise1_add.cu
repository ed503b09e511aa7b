// Exercise 1, add two vectors: every thread adds one element, and no thread goes beyond the end
// Computes: out[i] = a[i] + b[i]; a, b, out (n,), fp32
// Launch: grid ceil(n / 256), block 256
//
// The grid has a whole number of blocks, and n is any number: the last block has threads for which there is no element.

extern "C" __global__ void add(const float* a, const float* b, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = a[i] + b[i];
}

// Layer normalization: y = w z + b, z = (x - mean) r, r = 1 / sqrt(var + eps), mean and variance of each row
// Shapes: x, y, z, dy, dx (M, C) of Element; w, b (C,), r (M,) float
// Launch: grid ceil(M / 8), block 256: one warp per row
// Roofline: forward 3 MC elements where a row stays in cache, dx 3 MC; memory-bound. dw and db: batchnorm_sums(dy, z)
// and
//     batchnorm_gradients. Oracle: ops/layernorm.py. Source: Ba et al. 2016, arXiv 1607.06450.
//
// Two passes, mean first: the square of a mean taken from the mean of squares loses everything where the mean is large.
#include "common/elements.cuh"
#include "common/reduce.cuh"

extern "C" __global__ void __launch_bounds__(256)
layernorm_forward(const Element* x, const float* w, const float* b, float eps, Element* z, float* r, Element* y, int m,
                  int c) {
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= m) return;
  const long long first = (long long)row * c;
  float sum = 0, squares = 0;
  for (int i = lane; i < c; i += 32) sum += to_float(x[first + i]);
  const float mean = warp_sum(sum) / c;
  for (int i = lane; i < c; i += 32) {
    const float centered = to_float(x[first + i]) - mean;
    squares += centered * centered;
  }
  const float scale = 1 / sqrtf(warp_sum(squares) / c + eps);
  if (lane == 0) r[row] = scale;
  for (int i = lane; i < c; i += 32) {
    const float normal = (to_float(x[first + i]) - mean) * scale;
    z[first + i] = Convert<Element>::from(normal);
    y[first + i] = Convert<Element>::from(w[i] * normal + b[i]);
  }
}

// dx = r (g - mean(g) - z mean(g z)), g = w dy
extern "C" __global__ void __launch_bounds__(256)
layernorm_dx(const Element* dy, const Element* z, const float* r, const float* w, Element* dx, int m, int c) {
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= m) return;
  const long long first = (long long)row * c;
  float sum = 0, dot = 0;
  for (int i = lane; i < c; i += 32) {
    const float g = w[i] * to_float(dy[first + i]);
    sum += g;
    dot += g * to_float(z[first + i]);
  }
  const float mean = warp_sum(sum) / c, along = warp_sum(dot) / c;
  for (int i = lane; i < c; i += 32) {
    const float g = w[i] * to_float(dy[first + i]);
    dx[first + i] = Convert<Element>::from(r[row] * (g - mean - to_float(z[first + i]) * along));
  }
}

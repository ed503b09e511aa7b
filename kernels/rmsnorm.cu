// Root mean square normalization: y = w x r, r = 1 / sqrt(mean of x^2 + eps) of each row
// Shapes: x, y, dy, dx, products (M, C) of Element; w (C,), r (M,) float; dx may be dy
// Launch: grid ceil(M / 8), block 256: one warp per row
// Roofline: forward 2 MC elements where a row stays in cache, backward 4 MC, and MC more for column_sum, which adds the
//     products dy x r up to dw; memory-bound. Oracle: ops/rmsnorm.py. Source: Zhang and Sennrich 2019, arXiv 1910.07467.
#include "common/elements.cuh"
#include "common/reduce.cuh"

extern "C" __global__ void __launch_bounds__(256)
rmsnorm_forward(const Element* x, const float* w, float eps, float* r, Element* y, int m, int c) {
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= m) return;
  const long long first = (long long)row * c;
  float squares = 0;
  for (int i = lane; i < c; i += 32) squares += to_float(x[first + i]) * to_float(x[first + i]);
  const float scale = 1 / sqrtf(warp_sum(squares) / c + eps);
  if (lane == 0) r[row] = scale;
  for (int i = lane; i < c; i += 32) y[first + i] = Convert<Element>::from(to_float(x[first + i]) * scale * w[i]);
}

// dx = r (g - z mean(g z)), g = w dy, z = x r
extern "C" __global__ void __launch_bounds__(256)
rmsnorm_dx(const Element* dy, const Element* x, const float* r, const float* w, Element* dx, Element* products, int m,
           int c) {
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= m) return;
  const long long first = (long long)row * c;
  const float scale = r[row];
  float dot = 0;
  for (int i = lane; i < c; i += 32) {
    const float product = to_float(dy[first + i]) * to_float(x[first + i]) * scale;
    products[first + i] = Convert<Element>::from(product);
    dot += product * w[i];
  }
  const float along = warp_sum(dot) / c * scale;
  for (int i = lane; i < c; i += 32) {
    const float g = w[i] * to_float(dy[first + i]);
    dx[first + i] = Convert<Element>::from(scale * (g - to_float(x[first + i]) * along));
  }
}

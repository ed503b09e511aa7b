// The cheap activations of common/activations.cuh, element by element, for test_activations.py.
#include "common/activations.cuh"

extern "C" __global__ void cheap(const float* x, float* gelu, float* slope, float* gelu_tanh, float* tanh_slope, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    gelu[i] = gelu_approx(x[i]);
    slope[i] = gelu_slope_approx(x[i]);
    gelu_tanh[i] = gelu_tanh_approx(x[i]);
    tanh_slope[i] = gelu_tanh_slope_approx(x[i]);
  }
}

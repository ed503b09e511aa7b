// GELU and its gradient, element by element, with Phi or its approximation by tanh
// Shapes: all the same, any (n elements); out may be an input. ELEMENT_BF16: all are fp32 or bf16.
// Launch: block 256; grid any, at best ceil(n / 1024) or a few blocks per SM, whichever is less
// Roofline: one read of each input, one write of each output; memory-bound. Oracle: ops/gelu.py. NaN stays NaN.
// In bf16 by approximations closer than its rounding, those of products' epilogues (common/activations.cuh).
// Has not run on a GPU.
#include "common/activations.cuh"
#include "common/elements.cuh"

constexpr bool NEAR = sizeof(Element) == 2;

__device__ __forceinline__ float phi_y(float x) { return NEAR ? gelu_approx(x) : gelu_of(x); }
__device__ __forceinline__ float phi_slope(float x) { return NEAR ? gelu_slope_approx(x) : gelu_slope(x); }
__device__ __forceinline__ float tanh_y(float x) { return NEAR ? gelu_tanh_approx(x) : gelu_tanh_of(x); }
__device__ __forceinline__ float tanh_slope(float x) { return NEAR ? gelu_tanh_slope_approx(x) : gelu_tanh_slope(x); }

extern "C" __global__ void gelu_forward(const Element* x, Element* y, Element* slope, long long n) {
  map_two(y, slope, n, [](float x) { return phi_y(x); }, [](float x) { return phi_slope(x); }, x);
}
extern "C" __global__ void gelu_tanh_forward(const Element* x, Element* y, Element* slope, long long n) {
  map_two(y, slope, n, [](float x) { return tanh_y(x); }, [](float x) { return tanh_slope(x); }, x);
}

// Where x, and not the slope, was kept.
extern "C" __global__ void gelu_dx(const Element* x, const Element* dy, Element* dx, long long n) {
  map(dx, n, [](float x, float dy) { return dy * phi_slope(x); }, x, dy);
}
extern "C" __global__ void gelu_tanh_dx(const Element* x, const Element* dy, Element* dx, long long n) {
  map(dx, n, [](float x, float dy) { return dy * tanh_slope(x); }, x, dy);
}

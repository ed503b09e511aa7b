// GELU and its gradient, element by element, with Phi or its approximation by tanh
// Shapes: all the same, any (n elements); out may be an input. ELEMENT_BF16: all are fp32 or bf16.
// Launch: block 256; grid any, at best ceil(n / 1024) or a few blocks per SM, whichever is less
// Roofline: one read of each input, one write of each output; memory-bound. Oracle: ops/gelu.py. NaN stays NaN.
#include "common/activations.cuh"
#include "common/elements.cuh"

extern "C" __global__ void gelu_forward(const Element* x, Element* y, Element* slope, long long n) {
  map_two(y, slope, n, [](float x) { return gelu_of(x); }, [](float x) { return gelu_slope(x); }, x);
}
extern "C" __global__ void gelu_tanh_forward(const Element* x, Element* y, Element* slope, long long n) {
  map_two(y, slope, n, [](float x) { return gelu_tanh_of(x); }, [](float x) { return gelu_tanh_slope(x); }, x);
}

// Where x, and not the slope, was kept.
extern "C" __global__ void gelu_dx(const Element* x, const Element* dy, Element* dx, long long n) {
  map(dx, n, [](float x, float dy) { return dy * gelu_slope(x); }, x, dy);
}
extern "C" __global__ void gelu_tanh_dx(const Element* x, const Element* dy, Element* dx, long long n) {
  map(dx, n, [](float x, float dy) { return dy * gelu_tanh_slope(x); }, x, dy);
}

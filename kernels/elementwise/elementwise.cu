// Activations and their gradients, products and sums, element by element
// Shapes: all the same, any (n elements); out may be an input. ELEMENT_BF16: x, y, dy, dx, s are fp32 or bf16.
// Launch: block 256; grid any, at best ceil(n / 1024) or a few blocks per SM, whichever is less
// Roofline: one read of each input, one write of each output; memory-bound.
// Oracle: ops/elementwise.py; add is the sum in an all-reduce. NaN stays NaN.
#include "common/activations.cuh"
#include "common/elements.cuh"

extern "C" __global__ void relu_forward(const Element* x, Element* y, long long n) {
  map(y, n, [](float x) { return relu_of(x); }, x);
}
extern "C" __global__ void relu_dx(const Element* y, const Element* dy, Element* dx, long long n) {
  map(dx, n, [](float y, float dy) { return dy * relu_slope(y); }, y, dy);
}

// The end of a residual block; its gradient goes to both branches, each of which may overwrite its own.
extern "C" __global__ void add_relu(const Element* a, const Element* b, Element* y, long long n) {
  map(y, n, [](float a, float b) { return relu_of(a + b); }, a, b);
}
extern "C" __global__ void add_relu_dx(const Element* y, Element* dy, Element* copy, long long n) {
  const bool aligned = piece_aligned(y) && piece_aligned(dy) && piece_aligned(copy);
  for_each_piece(n, [&](long long i, int count) {
    const auto seen = load<PIECE>(y + i, count, aligned);
    auto slope = load<PIECE>(dy + i, count, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++)
      slope.at[j] = Convert<Element>::from(to_float(slope.at[j]) * relu_slope(to_float(seen.at[j])));
    store<PIECE>(dy + i, slope, count, aligned);
    store<PIECE>(copy + i, slope, count, aligned);
  });
}

extern "C" __global__ void tanh_forward(const Element* x, Element* y, long long n) {
  map(y, n, [](float x) { return tanhf(x); }, x);
}
extern "C" __global__ void tanh_dx(const Element* y, const Element* dy, Element* dx, long long n) {
  map(dx, n, [](float y, float dy) { return dy * (1 - y * y); }, y, dy);
}

extern "C" __global__ void sigmoid_forward(const Element* x, Element* y, long long n) {
  map(y, n, [](float x) { return sigmoid_of(x); }, x);
}
extern "C" __global__ void sigmoid_dx(const Element* y, const Element* dy, Element* dx, long long n) {
  map(dx, n, [](float y, float dy) { return dy * y * (1 - y); }, y, dy);
}

extern "C" __global__ void silu_forward(const Element* x, Element* s, Element* y, long long n) {
  map_two(s, y, n, [](float x) { return sigmoid_of(x); }, [](float x) { return x * sigmoid_of(x); }, x);
}
extern "C" __global__ void silu_dx(const Element* s, const Element* y, const Element* dy, Element* dx, long long n) {
  map(dx, n, [](float s, float y, float dy) { return dy * (s + y * (1 - s)); }, s, y, dy);
}

extern "C" __global__ void multiply(const Element* a, const Element* b, Element* out, long long n) {
  map(out, n, [](float a, float b) { return a * b; }, a, b);
}
extern "C" __global__ void multiply_fp32(const Element* a, const float* b, Element* out, long long n) {
  map(out, n, [](float a, float b) { return a * b; }, a, b);
}
extern "C" __global__ void add(const Element* a, const Element* b, Element* out, long long n) {
  map(out, n, [](float a, float b) { return a + b; }, a, b);
}

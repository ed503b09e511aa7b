// Activations and their slopes, element by element. NaN stays NaN. Oracles: ops/elementwise.py, ops/gelu.py.
//     GELU       y = x Phi(x), Phi the normal distribution                      (Hendrycks and Gimpel 2016)
//     its tanh   y = x (1 + tanh(a (x + b x^3))) / 2, a = sqrt(2 / pi), b = 0.044715
#pragma once

__device__ __forceinline__ float relu_of(float x) { return x > 0 ? x : (x == x ? 0 : x); }
__device__ __forceinline__ float relu_slope(float x) { return x > 0 ? 1.f : (x == x ? 0.f : x); }

__device__ __forceinline__ float sigmoid_of(float x) { return 0.5f * (1 + tanhf(0.5f * x)); }  // never overflows

__device__ __forceinline__ float normal_distribution(float x) { return 0.5f * (1 + erff(x * 0.70710678119f)); }
__device__ __forceinline__ float gelu_of(float x) { return x * normal_distribution(x); }
__device__ __forceinline__ float gelu_slope(float x) {
  return normal_distribution(x) + x * 0.3989422804f * expf(-0.5f * x * x);
}

__device__ __forceinline__ float gelu_tanh_phi(float x) {
  return 0.5f * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}
__device__ __forceinline__ float gelu_tanh_of(float x) { return x * gelu_tanh_phi(x); }
__device__ __forceinline__ float gelu_tanh_slope(float x) {  // tanh' = 1 - tanh^2 = 4 phi (1 - phi)
  const float phi = gelu_tanh_phi(x);
  return phi + x * phi * (1 - phi) * 2 * 0.7978845608f * (1 + 3 * 0.044715f * x * x);
}

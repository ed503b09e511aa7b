// Activations and their slopes, element by element. NaN stays NaN. Oracles: ops/elementwise.py, ops/gelu.py.
//     GELU       y = x Phi(x), Phi the normal distribution                      (Hendrycks and Gimpel 2016)
//     its tanh   y = x (1 + tanh(a (x + b x^3))) / 2, a = sqrt(2 / pi), b = 0.044715
#pragma once
#include "common/numbers.cuh"
#include "common/ptx/exp2.cuh"
#include "common/ptx/tanh.cuh"

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

// Cheap ones, where the result is rounded to bf16 anyway (its relative rounding error is up to 2^-9 = 0.002).

// The normal distribution by a polynomial, a minimax fit of erf (x / sqrt 2) / 2 over |x| <= 3.8 that reaches 1/2 there:
// off by 7.6e-5 at most, and exactly 0 and 1 beyond. So GELU is off by 1e-4 |x| at most.
__device__ __forceinline__ float normal_distribution_approx(float x) {
  const float z = fminf(fmaxf(x, -3.8f), 3.8f), s = z * z;
  float p = 3.8683968e-08f;
  p = p * s - 2.372496e-06f;
  p = p * s + 6.261228e-05f;
  p = p * s - 9.497747e-04f;
  p = p * s + 9.40353e-03f;
  p = p * s - 6.590962e-02f;
  p = p * s + 3.9881447e-01f;
  return fminf(fmaxf(0.5f + z * p, 0.f), 1.f);
}
__device__ __forceinline__ float gelu_approx(float x) { return x * normal_distribution_approx(x); }
__device__ __forceinline__ float gelu_slope_approx(float x) {
  return normal_distribution_approx(x) + x * 0.3989422804f * exp2_approx(-0.5f * LOG2_E * x * x);
}

// GELU's tanh by tanh_approx: off by 2.5e-4 |x| at most.
__device__ __forceinline__ float gelu_tanh_phi_approx(float x) {
  return 0.5f + 0.5f * tanh_approx(x * (0.7978845608f + 0.7978845608f * 0.044715f * x * x));
}
__device__ __forceinline__ float gelu_tanh_approx(float x) { return x * gelu_tanh_phi_approx(x); }
__device__ __forceinline__ float gelu_tanh_slope_approx(float x) {  // phi' = (1 - t^2) / 2 times the slope within
  const float a = 0.7978845608f, b = 0.044715f, s = x * x, t = tanh_approx(x * (a + a * b * s));
  return x * (0.5f * a + 1.5f * a * b * s) * (1 - t * t) + (0.5f + 0.5f * t);
}

// What happens to the sum of products on its way out: scale, add C and the bias, keep the pre-activation, activate.
// GELU is the tanh form, y = x (1 + tanh(a (x + b x^3))) / 2 (Hendrycks and Gimpel 2016). Oracle: ops/gelu.py.
#pragma once
#include "gemm.cuh"
#include "numbers.cuh"
#include "vec.cuh"

#define EPILOGUE_NONE 0
#define EPILOGUE_BIAS 1
#define EPILOGUE_BIAS_RELU 2
#define EPILOGUE_BIAS_GELU 3
#ifndef EPILOGUE
#define EPILOGUE EPILOGUE_NONE
#endif
static_assert(EPILOGUE >= EPILOGUE_NONE && EPILOGUE <= EPILOGUE_BIAS_GELU, "no such epilogue");

__device__ __forceinline__ float gelu_tanh(float x) {
  const float a = 0.7978845608f, b = 0.044715f;  // a = sqrt(2 / pi)
  return 0.5f * x * (1 + tanhf(a * (x + b * x * x * x)));
}

__device__ __forceinline__ float activate(float x) {
#if EPILOGUE == EPILOGUE_BIAS_RELU
  return x > 0 ? x : (x == x ? 0 : x);  // NaN stays NaN
#elif EPILOGUE == EPILOGUE_BIAS_GELU
  return gelu_tanh(x);
#else
  return x;
#endif
}

// Writes rows of N neighbouring sums of matrix `index` of the batch. Made after the sums, not before: its pointers
// would take registers all the way through.
template <int N, class Input, class Output>
class Epilogue {
 public:
  __device__ __forceinline__ Epilogue(const Gemm<Input, Output>& gemm, int index)
      : gemm(gemm),
        c(gemm.c + index * gemm.c_batch),
        out(gemm.out + index * gemm.out_batch),
        pre(gemm.pre ? gemm.pre + index * gemm.out_batch : nullptr),
        c_aligned(rows_aligned<N>(c, gemm.c_ld)),
        out_aligned(rows_aligned<N>(out, gemm.out_ld)),
        pre_aligned(rows_aligned<N>(pre, gemm.out_ld)) {}

  __device__ __forceinline__ void operator()(int row, int col, const float (&sums)[N]) const {
    const int count = gemm.n - col;
    if (row >= gemm.m || count <= 0) return;
    Vec<float, N> x;
#pragma unroll
    for (int i = 0; i < N; i++) x.at[i] = gemm.alpha * sums[i];
    if (gemm.beta != 0) {
      const auto old = load<N>(c + (long long)row * gemm.c_ld + col, count, c_aligned);
#pragma unroll
      for (int i = 0; i < N; i++) x.at[i] += gemm.beta * to_float(old.at[i]);
    }
#if EPILOGUE != EPILOGUE_NONE
#pragma unroll
    for (int i = 0; i < N; i++)
      if (i < count) x.at[i] += gemm.bias[col + i];
#endif
    const long long place = (long long)row * gemm.out_ld + col;
    if (pre) store<N>(pre + place, converted(x), count, pre_aligned);
#pragma unroll
    for (int i = 0; i < N; i++) x.at[i] = activate(x.at[i]);
    store<N>(out + place, converted(x), count, out_aligned);
  }

 private:
  const Gemm<Input, Output>& gemm;
  const Output* const c;
  Output *const out, *const pre;
  const bool c_aligned, out_aligned, pre_aligned;

  static __device__ __forceinline__ Vec<Output, N> converted(const Vec<float, N>& x) {
    Vec<Output, N> y;
#pragma unroll
    for (int i = 0; i < N; i++) y.at[i] = Convert<Output>::from(x.at[i]);
    return y;
  }
};

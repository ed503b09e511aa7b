// The steps between the sum of products and the stored result, in this order:
//     x = alpha sum + beta C + bias
//     an activation     pre = x where pre is not null, out = f(x)
//     its gradient      out = x f'(pre): the product is dy, pre the argument of f (ReLU: or its result)
//     column sums       of the result, over each slab of rows: with a gradient, that of the bias before f
// COLUMN_MOMENTS 1: in place of sums, the mean of each slab and the sum of squared differences from it, which batch
// normalization merges (batchnorm.cu): column_sums are (slabs, 2, batch N), of a batch whose matrices are side by side.
// They are those of the results as stored: where rounding to bf16 makes a channel constant, its variance is 0.
// Sums come in pieces of N neighbors in a row; outside of the matrix nothing is read or written.
#pragma once
#include "common/activations.cuh"
#include "common/rounded.cuh"
#include "products/gemm.cuh"

#define EPILOGUE_NONE 0
#define EPILOGUE_RELU 1
#define EPILOGUE_GELU 2
#define EPILOGUE_GELU_TANH 3
#define EPILOGUE_RELU_GRADIENT 4
#define EPILOGUE_GELU_GRADIENT 5
#define EPILOGUE_GELU_TANH_GRADIENT 6
#ifndef EPILOGUE
#define EPILOGUE EPILOGUE_NONE
#endif
#ifndef OUTPUT_BF16
#define OUTPUT_BF16 0
#endif
static_assert(EPILOGUE >= EPILOGUE_NONE && EPILOGUE <= EPILOGUE_GELU_TANH_GRADIENT, "no such epilogue");
#define EPILOGUE_IS_GRADIENT (EPILOGUE >= EPILOGUE_RELU_GRADIENT)
#ifndef COLUMN_MOMENTS
#define COLUMN_MOMENTS 0
#endif

// The function that EPILOGUE names, or its slope; cheaper where what becomes of it is rounded to bf16.
__device__ __forceinline__ float activate(float x) {
#if EPILOGUE == EPILOGUE_RELU
  return relu_of(x);
#elif EPILOGUE == EPILOGUE_GELU
  return OUTPUT_BF16 ? gelu_approx(x) : gelu_of(x);
#elif EPILOGUE == EPILOGUE_GELU_TANH
  return OUTPUT_BF16 ? gelu_tanh_approx(x) : gelu_tanh_of(x);
#elif EPILOGUE == EPILOGUE_RELU_GRADIENT
  return relu_slope(x);
#elif EPILOGUE == EPILOGUE_GELU_GRADIENT
  return OUTPUT_BF16 ? gelu_slope_approx(x) : gelu_slope(x);
#elif EPILOGUE == EPILOGUE_GELU_TANH_GRADIENT
  return OUTPUT_BF16 ? gelu_tanh_slope_approx(x) : gelu_tanh_slope(x);
#else
  return x;
#endif
}

// Where rows of the result lie in out, C and pre: in order.
struct Straight {
  __device__ __forceinline__ int operator()(int row) const { return row; }
};

// Writes pieces of matrix `index` of the batch. Made after the sums, not before: its pointers would take registers all
// the way through.
template <int N, class Input, class Output, class Rows = Straight>
class Epilogue {
 public:
  __device__ __forceinline__ Epilogue(const Gemm<Input, Output>& gemm, int index, const Rows& rows = Rows())
      : gemm(gemm),
        rows(rows),
        index(index),
        c(gemm.c + index * gemm.c_batch),
        out(gemm.out + index * gemm.out_batch),
        pre(gemm.pre ? gemm.pre + index * gemm.out_batch : nullptr),
        c_aligned(rows_aligned<N>(c, gemm.c_ld)),
        out_aligned(rows_aligned<N>(out, gemm.out_ld)),
        pre_aligned(rows_aligned<N>(pre, gemm.out_ld)) {}

  // x: sums on entry; on return the stored results, and zeros outside of the matrix.
  __device__ __forceinline__ void operator()(int row, int col, float (&x)[N]) const {
    const int count = row < gemm.m ? gemm.n - col : 0;
    const int line = rows(row);
    const long long place = (long long)line * gemm.out_ld + col;
    if (gemm.beta != 0) {
      const auto old = load<N>(c + (long long)line * gemm.c_ld + col, count, c_aligned);
#pragma unroll
      for (int i = 0; i < N; i++) x[i] = gemm.alpha * x[i] + gemm.beta * to_float(old.at[i]);
    } else {
#pragma unroll
      for (int i = 0; i < N; i++) x[i] *= gemm.alpha;
    }
    if (gemm.bias) {
#pragma unroll
      for (int i = 0; i < N; i++)
        if (i < count) x[i] += gemm.bias[col + i];
    }
#if EPILOGUE_IS_GRADIENT
    const auto kept = load<N>(pre + place, count, pre_aligned);
#pragma unroll
    for (int i = 0; i < N; i++) x[i] *= activate(to_float(kept.at[i]));
#elif EPILOGUE != EPILOGUE_NONE
    if (pre) store<N>(pre + place, converted(x), count, pre_aligned);
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = activate(x[i]);
#endif
    const Vec<Output, N> y = converted(x);
    store<N>(out + place, y, count, out_aligned);
#pragma unroll
    for (int i = 0; i < N; i++) {
      if (COLUMN_MOMENTS) x[i] = to_float(y.at[i]);
      if (i >= count) x[i] = 0;
    }
  }

  // Instead of all that, where K is split: keep the sums of part `split`.
  __device__ __forceinline__ void keep(int split, int row, int col, const float (&x)[N]) const {
    float* part = gemm.partials + ((long long)split * gemm.batch + index) * gemm.m * gemm.n;
    Vec<float, N> v;
#pragma unroll
    for (int i = 0; i < N; i++) v.at[i] = x[i];
    store<N>(part + (long long)row * gemm.n + col, v, row < gemm.m ? gemm.n - col : 0,
             rows_aligned<N>(part, gemm.n));
  }

 private:
  const Gemm<Input, Output>& gemm;
  const Rows rows;
  const int index;
  const Output* const c;
  Output *const out, *const pre;
  const bool c_aligned, out_aligned, pre_aligned;

  static __device__ __forceinline__ Vec<Output, N> converted(const float (&x)[N]) {
    Vec<float, N> y;
#pragma unroll
    for (int i = 0; i < N; i++) y.at[i] = x[i];
    return Rounded<Output>::from(y);
  }
};

// Where the sums of the slab that begins at `row` are written, or the means of a slab, behind which squares follow.
template <int SLAB, class Input, class Output>
__device__ __forceinline__ float* slab_of(const Gemm<Input, Output>& gemm, int index, int row) {
  if (COLUMN_MOMENTS)
    return gemm.column_sums + 2 * (row / SLAB) * ((long long)gemm.batch * gemm.n) + (long long)index * gemm.n;
  const long long slabs = (gemm.m + SLAB - 1) / SLAB;
  return gemm.column_sums + (index * slabs + row / SLAB) * gemm.n;
}

// The sums, or moments, of the columns of a slab, which is a warp's: lanes that hold the same columns are 4 apart.
// Differences are taken from the slab's first row (Chan et al. 1979), so that a large mean costs no precision.
template <int N>
class ColumnTotals {
 public:
  // The next of this lane's rows; at the first call, lanes 0 to 3 have the first row of the slab. Every lane calls it.
  __device__ __forceinline__ void add(const float (&x)[N], bool is_first, bool is_row) {
#pragma unroll
    for (int i = 0; i < N; i++) {
#if COLUMN_MOMENTS
      if (is_first) center[i] = __shfl_sync(~0u, x[i], threadIdx.x % 4);
      const float apart = is_row ? x[i] - center[i] : 0;
      sums[i] += apart;
      squares[i] += apart * apart;
#else
      sums[i] += x[i];  // zeros outside of the matrix
#endif
    }
  }

  // Write them for the slab of SLAB rows that begins at `row`. Every lane of the warp calls it.
  template <int SLAB, class Input, class Output>
  __device__ __forceinline__ void write(const Gemm<Input, Output>& gemm, int index, int row, int col) {
    add_lanes(sums);
#if COLUMN_MOMENTS
    add_lanes(squares);
    if (threadIdx.x % 32 >= 4 || row >= gemm.m) return;
    const long long channels = (long long)gemm.batch * gemm.n;
    float* means = slab_of<SLAB>(gemm, index, row);
    const float part = 1.f / min(SLAB, gemm.m - row);
#pragma unroll
    for (int i = 0; i < N; i++) {
      if (col + i >= gemm.n) continue;
      means[col + i] = center[i] + sums[i] * part;
      means[channels + col + i] = fmaxf(0, squares[i] - sums[i] * sums[i] * part);
    }
#else
    if (threadIdx.x % 32 >= 4 || row >= gemm.m) return;
    float* to = slab_of<SLAB>(gemm, index, row);
#pragma unroll
    for (int i = 0; i < N; i++)
      if (col + i < gemm.n) to[col + i] = sums[i];
#endif
  }

 private:
  float sums[N] = {};
#if COLUMN_MOMENTS
  float squares[N] = {}, center[N];
#endif

  static __device__ __forceinline__ void add_lanes(float (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
      for (int apart = 4; apart < 32; apart *= 2) x[i] += __shfl_xor_sync(~0u, x[i], apart);
  }
};

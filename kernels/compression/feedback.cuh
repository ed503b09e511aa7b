// Error feedback of codecs (ops/compress.py): u = x + inject error is encoded; error = keep error + inverse (u - sent).
// Products and sums are rounded one by one, never fused: the bits are those of the oracle, whatever the compiler does.
#pragma once
#include "common/elements.cuh"

__device__ __forceinline__ float rounded_product(float a, float b) {
#ifdef CUDA_ON_CPU
  const volatile float product = a * b;
  return product;
#else
  return __fmul_rn(a, b);
#endif
}

__device__ __forceinline__ float rounded_sum(float a, float b) {
#ifdef CUDA_ON_CPU
  const volatile float sum = a + b;
  return sum;
#else
  return __fadd_rn(a, b);
#endif
}

__device__ __forceinline__ unsigned magnitude_bits(float x) { return float_bits(x) & 0x7FFFFFFF; }
__device__ __forceinline__ bool is_finite(float x) { return magnitude_bits(x) < 0x7F800000; }
__device__ __forceinline__ float nan_bits() { return float_from_bits(0x7FC00000); }

// A number: in the memory of the GPU, where only it knows the weight of the step, or by value.
struct Factor {
  const float* at;
  float value;
  int unused;
  __device__ __forceinline__ float get() const { return at ? *at : value; }
};
struct Feedback {
  Factor inject, keep, inverse;
};
static_assert(sizeof(Factor) == 16 && sizeof(Feedback) == 48, "the record of mpitrain/ops/cuda/compress.py");

// error after a rest was not sent; a rest that is not finite is dropped
__device__ __forceinline__ float kept_error(float error, float rest, float keep, float inverse) {
  return rounded_sum(rounded_product(keep, error), rounded_product(inverse, is_finite(rest) ? rest : 0));
}

// The elements of a message and their errors, N neighbors at a time. Without errors (null) u is x.
template <int N>
class Source {
  const float* x_;
  float* error_;
  float inject_, keep_, inverse_;
  bool aligned_;

 public:
  Vec<float, N> u, error;

  __device__ __forceinline__ Source(const float* x, float* error, const Feedback& feedback)
      : x_(x), error_(error), inject_(feedback.inject.get()), keep_(feedback.keep.get()),
        inverse_(feedback.inverse.get()), aligned_(rows_aligned<N>(x, 0) && rows_aligned<N>(error, 0)) {}

  // u of the first `count` elements from i on, zeros behind them
  __device__ __forceinline__ void read(long long i, int count) {
    u = load<N>(x_ + i, count, aligned_);
    if (!error_) return;
    error = load<N>(error_ + i, count, aligned_);
#pragma unroll
    for (int j = 0; j < N; j++)
      if (j < count) u.at[j] = rounded_sum(u.at[j], rounded_product(inject_, error.at[j]));
  }

  // Keep what `sent` leaves out of what was read.
  __device__ __forceinline__ void keep(long long i, int count, const Vec<float, N>& sent) {
    if (!error_) return;
#pragma unroll
    for (int j = 0; j < N; j++)
      error.at[j] = kept_error(error.at[j], rounded_sum(u.at[j], -sent.at[j]), keep_, inverse_);
    store<N>(error_ + i, error, count, aligned_);
  }
};

// Write decoded numbers to y, or add them.
template <int N>
__device__ __forceinline__ void put(float* y, long long i, int count, Vec<float, N> decoded, bool add, bool aligned) {
  if (add) {
    const auto before = load<N>(y + i, count, aligned);
#pragma unroll
    for (int j = 0; j < N; j++) decoded.at[j] = rounded_sum(before.at[j], decoded.at[j]);
  }
  store<N>(y + i, decoded, count, aligned);
}

// Blocks of a message, one warp for each: body(first element, its elements, the place of its scale), by lanes together.
// `bytes` of payload follow a scale of 4 bytes.
template <class Message, class Body>
__device__ __forceinline__ void for_each_block(Message* message, long long n, int block, int bytes, Body body) {
  const long long warps = (long long)gridDim.x * (blockDim.x / 32);
  for (long long k = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / 32; k * block < n; k += warps) {
    const long long first = k * block;
    body(first, n - first < block ? int(n - first) : block, message + k * (4 + bytes));
  }
}

__device__ __forceinline__ unsigned warp_max_bits(unsigned x) {
#pragma unroll
  for (int apart = 16; apart > 0; apart /= 2) x = max(x, __shfl_xor_sync(~0u, x, apart));
  return x;
}

constexpr float LEAST_SCALED = 1e-30f;  // blocks of smaller numbers are sent as zeros

// Several numbers in the type in which they are stored.
#pragma once
#include "common/numbers.cuh"
#include "common/vec.cuh"

// The numbers in the type Out; two at a time in bf16, which is one instruction.
template <class Out>
struct Rounded {
  template <int N>
  static __device__ __forceinline__ Vec<Out, N> from(const Vec<float, N>& x) {
    return x;
  }
};
template <>
struct Rounded<bf16> {
  template <int N>
  static __device__ __forceinline__ Vec<bf16, N> from(const Vec<float, N>& x) {
    static_assert(N % 2 == 0, "pairs");
    Vec<bf16, N> y;
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      const unsigned pair = to_bf16_pair(x.at[i], x.at[i + 1]);
      y.at[i].bits = static_cast<unsigned short>(pair);
      y.at[i + 1].bits = static_cast<unsigned short>(pair >> 16);
    }
    return y;
  }
};

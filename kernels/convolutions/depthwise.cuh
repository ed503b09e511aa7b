// Pieces of channels of a depthwise convolution: products of an image and a filter, channel by channel.
#pragma once
#define ELEMENT_PIECE 4  // also in bf16: filters and sums are in registers
#include "convolutions/window.cuh"

using Sum = Vec<float, PIECE>;

// The piece at `from` as floats, or zeros where it is not `inside`. WHOLE: it has PIECE elements, aligned; else it has
// `count`.
template <bool WHOLE>
__device__ __forceinline__ Sum seen(const float* from, bool inside, int count, bool aligned) {
  if (!WHOLE) return load<PIECE>(from, inside ? count : 0, aligned);
  Sum piece = {};
  if (inside) piece = load<PIECE>(from, PIECE, true);
  return piece;
}
template <bool WHOLE>
__device__ __forceinline__ Sum seen(const bf16* from, bool inside, int count, bool aligned) {
  if (!WHOLE) return apply<float>([](float a) { return a; }, load<PIECE>(from, inside ? count : 0, aligned));
  Vec<unsigned, PIECE / 2> pairs = {};  // a float is a bf16 and 16 zeros: one instruction each
  if (inside) pairs = *reinterpret_cast<const Vec<unsigned, PIECE / 2>*>(from);
  Sum piece;
#pragma unroll
  for (int i = 0; i < PIECE; i++)
    piece.at[i] = float_from_bits(i % 2 ? pairs.at[i / 2] & 0xFFFF0000 : pairs.at[i / 2] << 16);
  return piece;
}

__device__ __forceinline__ void add_product(Sum& sum, const Sum& x, const Sum& w) {
#pragma unroll
  for (int i = 0; i < PIECE; i++) sum.at[i] += x.at[i] * w.at[i];
}

__device__ __forceinline__ Vec<Element, PIECE> rounded(const Sum& sum) {
  return apply<Element>([](float a) { return a; }, sum);
}

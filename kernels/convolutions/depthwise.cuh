// Pieces of channels of a depthwise convolution: products of an image and a filter, channel by channel.
#pragma once
#ifndef ELEMENT_PIECE
#define ELEMENT_PIECE 4  // also in bf16: filters and sums are in registers
#endif
#include "convolutions/window.cuh"

using Sum = Vec<float, PIECE>;

// The piece at `from` as floats, or zeros where it is not `inside`. WHOLE: it has PIECE elements, aligned; else it has
// `count`.
template <bool WHOLE>
__device__ __forceinline__ Sum seen(const Element* from, bool inside, int count, bool aligned) {
  if (!WHOLE) return apply<float>([](float a) { return a; }, load<PIECE>(from, inside ? count : 0, aligned));
  typename Packed<Element>::Type piece = {};
  if (inside) piece = load_packed(from);
  return Packed<Element>::floats(piece);
}

__device__ __forceinline__ void add_product(Sum& sum, const Sum& x, const Sum& w) {
#pragma unroll
  for (int i = 0; i < PIECE; i++) sum.at[i] += x.at[i] * w.at[i];
}

__device__ __forceinline__ Vec<Element, PIECE> rounded(const Sum& sum) {
  return apply<Element>([](float a) { return a; }, sum);
}

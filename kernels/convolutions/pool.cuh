// What pools compute under a window, for a piece of channels: the largest value with its tap, or the mean; and what an
// output gives back to the pixels under it.
#pragma once
#include "common/ptx/keep.cuh"
#include "convolutions/window.cuh"

#ifndef ARGMAX_BITS
#define ARGMAX_BITS 8
#endif
#if ARGMAX_BITS == 8
using Argmax = unsigned char;
#else
using Argmax = unsigned short;
#endif

using Values = Vec<float, PIECE>;

// The first `count` numbers of a piece; zeros in place of the others.
__device__ __forceinline__ Values values_at(const Element* from, int count, bool aligned) {
  return apply<float>([](float a) { return a; }, load<PIECE>(from, count, aligned));
}
__device__ __forceinline__ Values everywhere(float x) {
  Values y;
#pragma unroll
  for (int j = 0; j < PIECE; j++) y.at[j] = x;
  return y;
}
// The whole aligned piece, or `outside` everywhere.
__device__ __forceinline__ Values values_if(bool inside, const Element* from, float outside) {
  auto piece = Packed<Element>::of(outside);
  if (inside) piece = load_packed(from);
  return Packed<Element>::floats(piece);
}

__device__ __forceinline__ Vec<Element, PIECE> scaled(const Values& x, float factor) {
  return apply<Element>([=](float a) { return a * factor; }, x);
}

// Both begin as line(...) of the first line of pixels, take those of the next ones, in the order of the taps, then
// write. `base`: the number of the first tap, where neighbors in a column share what line() finds. outside() changes
// nothing.
struct Largest {
  struct To {
    Element* y;
    Argmax* argmax;  // or null
    int relu, taps;
    __device__ __forceinline__ bool aligned(int channels) const {
      return rows_aligned<PIECE>(y, channels) && rows_aligned<PIECE>(argmax, channels);
    }
  };
  Values value;
  int first[PIECE];

  template <int N>
  static __device__ __forceinline__ Largest line(int tap, const Values (&x)[N]) {
    Largest found;
    found.value = x[0];
#pragma unroll
    for (int j = 0; j < PIECE; j++) found.first[j] = tap;
#pragma unroll
    for (int i = 1; i < N; i++) {
      Largest next;
      next.value = x[i];
#pragma unroll
      for (int j = 0; j < PIECE; j++) next.first[j] = tap + i;
      found.take(next);
    }
    return found;
  }
  __device__ __forceinline__ void take(const Largest& line) {
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      if (line.value.at[j] > value.at[j]) first[j] = line.first[j];
      keep(first[j]);  // else compilers choose it in the end, and keep all pixels, or all comparisons, until then
      value.at[j] = max_or_nan(value.at[j], line.value.at[j]);
    }
  }
  __device__ __forceinline__ void write(const To& to, long long place, int count, bool aligned, int base = 0) {
    if (to.relu) {
#pragma unroll
      for (int j = 0; j < PIECE; j++)
        if (value.at[j] <= 0) value.at[j] = 0, first[j] = base + to.taps;
    }
    store<PIECE>(to.y + place, Rounded<Element>::from(value), count, aligned);
    if (!to.argmax) return;
    Vec<Argmax, PIECE> taps;
#pragma unroll
    for (int j = 0; j < PIECE; j++) taps.at[j] = Argmax(first[j] - base);
    store<PIECE>(to.argmax + place, taps, count, aligned);
  }
  static __device__ __forceinline__ float outside() { return -infinity(); }
};

struct Mean {
  struct To {
    Element* y;
    float part;
    __device__ __forceinline__ bool aligned(int channels) const { return rows_aligned<PIECE>(y, channels); }
  };
  Values sum;

  template <int N>
  static __device__ __forceinline__ Mean line(int, const Values (&x)[N]) {
    Mean found = {x[0]};
#pragma unroll
    for (int i = 1; i < N; i++) found.take({x[i]});
    return found;
  }
  __device__ __forceinline__ void take(const Mean& line) {
    sum = apply<float>([](float a, float b) { return a + b; }, sum, line.sum);
  }
  __device__ __forceinline__ void write(const To& to, long long place, int count, bool aligned, int = 0) const {
    store<PIECE>(to.y + place, scaled(sum, to.part), count, aligned);
  }
  static __device__ __forceinline__ float outside() { return 0; }
};

// Gradients of outputs. add(sum, tap, item): what an output gives to the pixel under its tap, times part.
struct LargestSlopes {
  const Argmax* argmax;
  const Element* dy;
  struct Item {
    unsigned first[PIECE];  // each where it lies in a word of neighbors: one instruction takes it out
    Values slope;
  };
  static constexpr float part = 1;
  static constexpr int PER_WORD = 4 / sizeof(Argmax);
  static __device__ __forceinline__ int place_in_word(int j) { return ARGMAX_BITS * (j % PER_WORD); }

  __device__ __forceinline__ bool aligned(int channels) const {
    return rows_aligned<PIECE>(argmax, channels) && rows_aligned<PIECE>(dy, channels);
  }
  __device__ __forceinline__ Item item(long long place, int count, bool aligned) const {
    const auto first = load<PIECE>(argmax + place, count, aligned);
    Item item = {{}, values_at(dy + place, count, aligned)};
#pragma unroll
    for (int j = 0; j < PIECE; j++) item.first[j] = unsigned(first.at[j]) << place_in_word(j);
    return item;
  }
  __device__ __forceinline__ Item item_if(bool inside, long long place) const {
    Vec<unsigned, PIECE / PER_WORD> words = {};
    if (inside) words = *reinterpret_cast<const Vec<unsigned, PIECE / PER_WORD>*>(argmax + place);
    Item item = {{}, values_if(inside, dy + place, 0)};
#pragma unroll
    for (int j = 0; j < PIECE; j++)
      item.first[j] = words.at[j / PER_WORD] & ((1u << ARGMAX_BITS) - 1) << place_in_word(j);
    return item;
  }
  static __device__ __forceinline__ void add(Values& sum, int tap, const Item& item) {
#pragma unroll
    for (int j = 0; j < PIECE; j++)
      if (item.first[j] == unsigned(tap) << place_in_word(j)) sum.at[j] += item.slope.at[j];
  }
};

struct MeanSlopes {
  const Element* dy;
  float part;
  struct Item {
    Values slope;
  };

  __device__ __forceinline__ bool aligned(int channels) const { return rows_aligned<PIECE>(dy, channels); }
  __device__ __forceinline__ Item item(long long place, int count, bool aligned) const {
    return {values_at(dy + place, count, aligned)};
  }
  __device__ __forceinline__ Item item_if(bool inside, long long place) const {
    return {values_if(inside, dy + place, 0)};
  }
  static __device__ __forceinline__ void add(Values& sum, int, const Item& item) {
    sum = apply<float>([](float a, float b) { return a + b; }, sum, item.slope);
  }
};

// Loops over arrays, a piece of 16 bytes at a time: 4 floats, 8 bf16. ELEMENT_BF16: activations and their gradients are
// 0: float, 1: bf16. Parameters, statistics and sums are float always.
#pragma once
#include "common/rounded.cuh"

#ifndef ELEMENT_BF16
#define ELEMENT_BF16 0
#endif
using Element = FloatOrBf16<ELEMENT_BF16>::Type;

// A file whose threads keep many pieces in registers defines less before it includes this.
#ifndef ELEMENT_PIECE
#define ELEMENT_PIECE (16 / sizeof(Element))
#endif
constexpr int PIECE = ELEMENT_PIECE;

// body(first, count) for each piece of n elements that is this thread's; any one-dimensional grid.
template <class Body>
__device__ __forceinline__ void for_each_piece(long long n, Body body) {
  const long long apart = (long long)gridDim.x * blockDim.x * PIECE;
  for (long long first = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * PIECE; first < n; first += apart)
    body(first, n - first < PIECE ? int(n - first) : PIECE);
}

// Loops of a grid over items in up to three dimensions, without a division: body(i) for each of n < 2^31 that is this
// thread's. What depends on an outer dimension alone is computed before the loop over an inner one. Offsets to an item
// are of 64 bits, its number in each dimension of 32. Any grid and any block whose z is 1.
template <class Body>
__device__ __forceinline__ void for_each_across(int n, Body body) {
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < unsigned(n); i += gridDim.x * blockDim.x) body(int(i));
}
template <class Body>
__device__ __forceinline__ void for_each_down(int n, Body body) {
  for (unsigned i = blockIdx.y * blockDim.y + threadIdx.y; i < unsigned(n); i += gridDim.y * blockDim.y) body(int(i));
}
// The same with `several` items at a time: write(i, read(i)), all of them read before the first is written, since a
// thread with many registers needs more than one load under way.
template <int several, class Read, class Write>
__device__ __forceinline__ void for_each_down(int n, Read read, Write write) {
  const unsigned apart = gridDim.y * blockDim.y;
  unsigned i = blockIdx.y * blockDim.y + threadIdx.y;
#pragma unroll 1
  for (; i + (several - 1) * apart < unsigned(n); i += several * apart) {
    decltype(read(0)) items[several];
#pragma unroll
    for (int j = 0; j < several; j++) items[j] = read(int(i + j * apart));
#pragma unroll
    for (int j = 0; j < several; j++) write(int(i + j * apart), items[j]);
  }
#pragma unroll 1
  for (; i < unsigned(n); i += apart) write(int(i), read(int(i)));
}
template <class Body>
__device__ __forceinline__ void for_each_layer(int n, Body body) {
  for (unsigned i = blockIdx.z; i < unsigned(n); i += gridDim.z) body(int(i));
}

template <class T>
__device__ __forceinline__ bool piece_aligned(const T* array) {
  return rows_aligned<PIECE>(array, 0);
}

// A whole, aligned piece as it lies in memory, and its numbers: a float is a bf16 and 16 zeros, so one instruction each.
template <class T>
struct Packed {
  using Type = Vec<T, PIECE>;
  static __device__ __forceinline__ Type of(float x) {  // everywhere
    Type y;
#pragma unroll
    for (int i = 0; i < PIECE; i++) y.at[i] = x;
    return y;
  }
  static __device__ __forceinline__ Vec<float, PIECE> floats(const Type& x) { return x; }
};
template <>
struct Packed<bf16> {
  using Type = Vec<unsigned, PIECE / 2>;
  static __device__ __forceinline__ Type of(float x) {
    Type y;
#pragma unroll
    for (int i = 0; i < PIECE / 2; i++) y.at[i] = to_bf16_pair(x, x);
    return y;
  }
  static __device__ __forceinline__ Vec<float, PIECE> floats(const Type& x) {
    Vec<float, PIECE> y;
#pragma unroll
    for (int i = 0; i < PIECE; i++)
      y.at[i] = float_from_bits(i % 2 ? x.at[i / 2] & 0xFFFF0000 : x.at[i / 2] << 16);
    return y;
  }
};
template <class T>
__device__ __forceinline__ typename Packed<T>::Type load_packed(const T* from) {
  return *reinterpret_cast<const typename Packed<T>::Type*>(from);
}

template <class Out, class F, class... In>
__device__ __forceinline__ Vec<Out, PIECE> apply(F f, const In&... in) {
  Vec<float, PIECE> y;
#pragma unroll
  for (int i = 0; i < PIECE; i++) y.at[i] = f(to_float(in.at[i])...);
  return Rounded<Out>::from(y);
}

// out = f(in...), element by element; out may be one of them.
template <class Out, class F, class... In>
__device__ __forceinline__ void map(Out* out, long long n, F f, const In*... in) {
  const bool aligned = (piece_aligned(out) && ... && piece_aligned(in));
  for_each_piece(n, [&](long long i, int count) {
    store<PIECE>(out + i, apply<Out>(f, load<PIECE>(in + i, count, aligned)...), count, aligned);
  });
}

// Two results of one input, read once.
template <class Out, class F, class G, class In>
__device__ __forceinline__ void map_two(Out* out, Out* second, long long n, F f, G g, const In* in) {
  const bool aligned = piece_aligned(out) && piece_aligned(second) && piece_aligned(in);
  for_each_piece(n, [&](long long i, int count) {
    const auto x = load<PIECE>(in + i, count, aligned);
    store<PIECE>(out + i, apply<Out>(f, x), count, aligned);
    store<PIECE>(second + i, apply<Out>(g, x), count, aligned);
  });
}

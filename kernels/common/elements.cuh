// Loops over arrays, a piece of 4 elements at a time; 8 where all arrays are bf16, so that an access has 16 bytes all the
// same: with 8 bytes a thread about a tenth of the bandwidth is left unused. ELEMENT_BF16: activations and their gradients are
// 0: float, 1: bf16. Parameters, statistics and sums are float always.
#pragma once
#include "numbers.cuh"
#include "vec.cuh"

#ifndef ELEMENT_BF16
#define ELEMENT_BF16 0
#endif
using Element = FloatOrBf16<ELEMENT_BF16>::Type;

constexpr int PIECE = 4;

// Elements of a piece of several arrays of these types that are read together.
template <class... T>
constexpr int PIECE_OF = (... && (sizeof(T) == 2)) ? 8 : PIECE;

// body(first, count) for each piece of n elements that is this thread's; any one-dimensional grid.
template <int N = PIECE, class Body>
__device__ __forceinline__ void for_each_piece(long long n, Body body) {
  const long long apart = (long long)gridDim.x * blockDim.x * N;
  for (long long first = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * N; first < n; first += apart)
    body(first, n - first < N ? int(n - first) : N);
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
template <class Body>
__device__ __forceinline__ void for_each_layer(int n, Body body) {
  for (unsigned i = blockIdx.z; i < unsigned(n); i += gridDim.z) body(int(i));
}

template <int N = PIECE, class T>
__device__ __forceinline__ bool piece_aligned(const T* array) {
  return rows_aligned<N>(array, 0);
}

template <class Out, int N = PIECE, class F, class... In>
__device__ __forceinline__ Vec<Out, N> apply(F f, const In&... in) {
  Vec<Out, N> y;
#pragma unroll
  for (int i = 0; i < N; i++) y.at[i] = Convert<Out>::from(f(to_float(in.at[i])...));
  return y;
}

// out = f(in...), element by element; out may be one of them.
template <class Out, class F, class... In>
__device__ __forceinline__ void map(Out* out, long long n, F f, const In*... in) {
  constexpr int N = PIECE_OF<Out, In...>;
  const bool aligned = (piece_aligned<N>(out) && ... && piece_aligned<N>(in));
  for_each_piece<N>(n, [&](long long i, int count) {
    store<N>(out + i, apply<Out, N>(f, load<N>(in + i, count, aligned)...), count, aligned);
  });
}

// Two results of one input, read once.
template <class Out, class F, class G, class In>
__device__ __forceinline__ void map_two(Out* out, Out* second, long long n, F f, G g, const In* in) {
  constexpr int N = PIECE_OF<Out, In>;
  const bool aligned = piece_aligned<N>(out) && piece_aligned<N>(second) && piece_aligned<N>(in);
  for_each_piece<N>(n, [&](long long i, int count) {
    const auto x = load<N>(in + i, count, aligned);
    store<N>(out + i, apply<Out, N>(f, x), count, aligned);
    store<N>(second + i, apply<Out, N>(g, x), count, aligned);
  });
}

// Loads and stores of N neighbors, 16 bytes at once where alignment and the edge of the matrix allow; else one by one.
#pragma once

template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Vec {
  T at[N];
};

// Whether rows that start at `matrix`, `ld` elements apart, can be read N elements at a time.
template <int N, class T>
__device__ __forceinline__ bool rows_aligned(const T* matrix, int ld) {
  constexpr int ELEMENTS = alignof(Vec<T, N>) / sizeof(T);
  return reinterpret_cast<unsigned long long>(matrix) % alignof(Vec<T, N>) == 0 && ld % ELEMENTS == 0;
}

// The first `count` of N elements; zeros in place of the others. count may be any number, also negative.
template <int N, class T>
__device__ __forceinline__ Vec<T, N> load(const T* from, int count, bool aligned) {
  if (aligned && count >= N) return *reinterpret_cast<const Vec<T, N>*>(from);
  Vec<T, N> v = {};
#pragma unroll
  for (int i = 0; i < N; i++)
    if (i < count) v.at[i] = from[i];
  return v;
}

// Write the first `count` of N elements.
template <int N, class T>
__device__ __forceinline__ void store(T* to, const Vec<T, N>& v, int count, bool aligned) {
  if (aligned && count >= N) {
    *reinterpret_cast<Vec<T, N>*>(to) = v;
    return;
  }
#pragma unroll
  for (int i = 0; i < N; i++)
    if (i < count) to[i] = v.at[i];
}

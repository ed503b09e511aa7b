// Normalization of rows that are too long for registers (ROW_PIECES 0): a block for each, which reads it again from the
// cache, two or three times. 132 blocks with rows of 16384 bf16 are 4 MB of L2's 50 for each array.
//     ROW_SUMS 1: the sums of dw and db of a block are in dynamic shared memory, c floats each; 0: in its part of
//     `partials`, where c is too large.
#pragma once
#include "common/ptx/shared.cuh"

#ifndef ROW_SUMS
#define ROW_SUMS 1
#endif

// use(i, read(i)) for each piece of a row of c elements that is this thread's; i: its first element. Two are read
// before the first is used.
template <class Read, class Use>
__device__ __forceinline__ void for_each_place(int c, Read read, Use use) {
  constexpr int APART = Threads::LANES * PIECE;
  int i = Threads::lane() * PIECE;
#pragma unroll 1
  for (; i + APART < c; i += 2 * APART) {
    const auto first = read(i), second = read(i + APART);
    use(i, first);
    use(i + APART, second);
  }
  if (i < c) use(i, read(i));
}

template <bool CENTERED>
__device__ __forceinline__ void normalize_forward(const NormalizeForward& to) {
  __shared__ float sum_of[ROW_WARPS], squares_of[ROW_WARPS];
  const int c = to.c;
  const bool whole = rows_aligned<PIECE>(to.x, c) && rows_aligned<PIECE>(to.residual, c) &&
                     rows_aligned<PIECE>(to.s, c) && rows_aligned<PIECE>(to.y, c) && rows_aligned<PIECE>(to.w, c) &&
                     rows_aligned<PIECE>(to.b, c);
  const long long at = (long long)blockIdx.x * c;
  const auto count = [=](int i) { return whole ? PIECE : c - i; };
  const Element *x = to.x + at, *residual = to.residual + at, *s = to.residual ? to.s + at : x;
  struct Pair {
    Vec<Element, PIECE> x, residual;
  };
  float mean = 0, squares = 0;
  for_each_place(
      c,
      [&](int i) {
        Pair pair = {load<PIECE>(x + i, count(i), whole), {}};
        if (to.residual) pair.residual = load<PIECE>(residual + i, count(i), whole);
        return pair;
      },
      [&](int i, Pair pair) {
        if (to.residual) {
          pair.x = apply<Element>([](float a, float b) { return a + b; }, pair.x, pair.residual);
          store<PIECE>(to.s + at + i, pair.x, count(i), whole);
        }
#pragma unroll
        for (int j = 0; j < PIECE; j++) {  // elements behind the end are 0
          const float value = to_float(pair.x.at[j]);
          if (CENTERED)
            mean += value;
          else
            squares += value * value;
        }
      });
  const auto read = [&](int i) { return load<PIECE>(s + i, count(i), whole); };
  if (CENTERED) {
    mean = mean_of(Threads::sum(mean, sum_of), c, to.part);
    for_each_place(c, read, [&](int i, const Vec<Element, PIECE>& piece) {
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        const float off = to_float(piece.at[j]) - mean;
        if (whole || i + j < c) squares += off * off;
      }
    });
  }
  const float r = 1 / sqrtf(mean_of(Threads::sum(squares, squares_of), c, to.part) + to.eps);
  if (Threads::lane() == 0) {
    if (CENTERED) to.mean[blockIdx.x] = mean;
    to.r[blockIdx.x] = r;
  }
  for_each_place(c, read, [&](int i, const Vec<Element, PIECE>& piece) {
    const auto w = load<PIECE>(to.w + i, count(i), whole);
    Vec<float, PIECE> b = {};
    if (CENTERED) b = load<PIECE>(to.b + i, count(i), whole);
    const auto y = apply<Element>([=](float x, float w, float b) { return (x - mean) * r * w + b; }, piece, w, b);
    store<PIECE>(to.y + at + i, y, count(i), whole);
  });
}

// The sums of a block's rows: a thread has the same columns in each.
template <bool CENTERED>
struct LongSlopes {
  float *dw, *db;
  int c;
  __device__ __forceinline__ LongSlopes(float* partials, float* shared, int c) : c(c) {
    float* first = partials + (long long)blockIdx.x * c;
    dw = ROW_SUMS ? shared : first;
    db = ROW_SUMS ? shared + (c + PIECE - 1) / PIECE * PIECE : first + (long long)gridDim.x * c;
    each([&](int i) { put(i, {}, {}); });
  }
  template <class Body>
  __device__ __forceinline__ void each(Body body) const {
    for (int i = Threads::lane() * PIECE; i < c; i += Threads::LANES * PIECE) body(i);
  }
  // Shared memory has whole pieces; a row of partials may begin anywhere.
  __device__ __forceinline__ Vec<float, PIECE> get(const float* from, int i) const {
    return load<PIECE>(from + i, ROW_SUMS ? PIECE : c - i, ROW_SUMS);
  }
  __device__ __forceinline__ void put(int i, const Vec<float, PIECE>& of_w, const Vec<float, PIECE>& of_b) {
    store<PIECE>(dw + i, of_w, ROW_SUMS ? PIECE : c - i, ROW_SUMS);
    if (CENTERED) store<PIECE>(db + i, of_b, ROW_SUMS ? PIECE : c - i, ROW_SUMS);
  }
  __device__ __forceinline__ void write(float* partials) const {
    if (!ROW_SUMS) return;
    float* first = partials + (long long)blockIdx.x * c;
    each([&](int i) {
      store<PIECE>(first + i, get(dw, i), c - i, false);
      if (CENTERED) store<PIECE>(first + (long long)gridDim.x * c + i, get(db, i), c - i, false);
    });
  }
};

template <bool CENTERED>
__device__ __forceinline__ void normalize_backward(const NormalizeBackward& from) {
  DYNAMIC_SHARED(shared);
  __shared__ float sum_of[2][ROW_WARPS], dot_of[2][ROW_WARPS];  // in turns: a thread may be a row ahead of another
  const int c = from.c;
  LongSlopes<CENTERED> slopes(from.partials, reinterpret_cast<float*>(shared), c);
  const bool whole = rows_aligned<PIECE>(from.dy, c) && rows_aligned<PIECE>(from.s, c) &&
                     rows_aligned<PIECE>(from.residual, c) && rows_aligned<PIECE>(from.w, c) &&
                     rows_aligned<PIECE>(from.dx, c);
  const auto count = [=](int i) { return whole ? PIECE : c - i; };
  struct Pair {
    Vec<Element, PIECE> dy, s;
  };
  int turn = 0;
#pragma unroll 1
  for (int row = blockIdx.x; row < from.m; row += gridDim.x, turn ^= 1) {
    const long long at = (long long)row * c;
    const float mean = CENTERED ? from.mean[row] : 0, r = from.r[row];
    const auto read = [&](int i) {
      return Pair{load<PIECE>(from.dy + at + i, count(i), whole), load<PIECE>(from.s + at + i, count(i), whole)};
    };
    float sum = 0, dot = 0;
    for_each_place(c, read, [&](int i, const Pair& pair) {  // elements behind the end add nothing: their dy is 0
      const auto w = load<PIECE>(from.w + i, count(i), whole);
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        const float g = w.at[j] * to_float(pair.dy.at[j]);
        sum += g;
        dot += g * ((to_float(pair.s.at[j]) - mean) * r);
      }
    });
    sum = CENTERED ? mean_of(Threads::sum(sum, sum_of[turn]), c, from.part) : 0;
    dot = mean_of(Threads::sum(dot, dot_of[turn]), c, from.part);
    for_each_place(c, read, [&](int i, const Pair& pair) {
      const auto w = load<PIECE>(from.w + i, count(i), whole);
      Vec<Element, PIECE> more = {};
      if (from.residual) more = load<PIECE>(from.residual + at + i, count(i), whole);
      auto of_w = slopes.get(slopes.dw, i);
      Vec<float, PIECE> of_b = {}, dx;
      if (CENTERED) of_b = slopes.get(slopes.db, i);
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        const float slope = to_float(pair.dy.at[j]), z = (to_float(pair.s.at[j]) - mean) * r;
        of_w.at[j] += slope * z;
        of_b.at[j] += slope;
        dx.at[j] = r * (w.at[j] * slope - sum - z * dot) + to_float(more.at[j]);
      }
      slopes.put(i, of_w, of_b);
      store<PIECE>(from.dx + at + i, Rounded<Element>::from(dx), count(i), whole);
    });
  }
  slopes.write(from.partials);
}

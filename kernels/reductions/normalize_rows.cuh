// Normalization of rows, forward and backward, with the sum of a residual connection in the same pass:
//     s = x + residual,   z = (s - mean) r,   y = w z + b
//     dx = r (g - mean(g) - z mean(g z)) + residual gradient,   g = w dy,   dw = sum of dy z,   db = sum of dy
// CENTERED: layer normalization, r = 1 / sqrt(var + eps). Otherwise mean is 0 everywhere, r = 1 / sqrt(mean of s^2 +
// eps), and there is no b: root mean square normalization. z is not kept: backward computes it again from s, mean, r.
#pragma once
#include "reductions/held_row.cuh"

// x / c, given part = 1 / c: a product and its correction, since the rounding of 1 / c alone would show where a
// gradient is the small difference of large means.
__device__ __forceinline__ float mean_of(float x, int c, float part) {
  const float near = x * part;
  return fmaf(fmaf(-near, float(c), x), part, near);
}

struct NormalizeForward {
  const Element *x, *residual;  // residual null: s is x, and not written
  const float *w, *b;
  Element *s, *y;
  float *mean, *r;
  float eps, part;  // part: 1 / c
  int m, c;
};

struct NormalizeBackward {
  const Element *dy, *s, *residual;  // residual: a gradient that is added to dx, or null
  const float *mean, *r, *w;
  Element* dx;       // may be dy or residual
  float* partials;   // (2, blocks, c), or without b (1, blocks, c): the sums of each block's rows, for sum_parts
  float part;
  int m, c;
};

#if ROW_PIECES == 0
#include "reductions/long_rows.cuh"
#else

template <bool CENTERED>
__device__ __forceinline__ void normalize_forward(const NormalizeForward& to) {
  __shared__ float sum_of[ROW_WARPS], squares_of[ROW_WARPS];
  const int row = blockIdx.x * BLOCK_ROWS + threadIdx.x / Threads::LANES, c = to.c;
  if (row >= to.m) return;
  const bool whole = rows_aligned<PIECE>(to.x, c) && rows_aligned<PIECE>(to.residual, c) &&
                     rows_aligned<PIECE>(to.s, c) && rows_aligned<PIECE>(to.y, c) && rows_aligned<PIECE>(to.w, c) &&
                     rows_aligned<PIECE>(to.b, c);
  const long long at = (long long)row * c;
  HeldRow<Element> x;
  x.load(to.x + at, c, whole);
  if (to.residual) {
    HeldRow<Element> other;
    other.load(to.residual + at, c, whole);
#pragma unroll
    for (int p = 0; p < ROW_PIECES; p++)
      x.at[p] = apply<Element>([](float a, float b) { return a + b; }, x.at[p], other.at[p]);
    x.store(to.s + at, c, whole);
  }
  float mean = 0, squares = 0;
  if (CENTERED) {
#pragma unroll
    for (int p = 0; p < ROW_PIECES; p++)
#pragma unroll
      for (int j = 0; j < PIECE; j++) mean += to_float(x.at[p].at[j]);
    mean = mean_of(Threads::sum(mean, sum_of), c, to.part);
  }
#pragma unroll
  for (int p = 0; p < ROW_PIECES; p++)
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      const float off = to_float(x.at[p].at[j]) - mean;
      if (!CENTERED || place_of(p) + j < c) squares += off * off;
    }
  const float r = 1 / sqrtf(mean_of(Threads::sum(squares, squares_of), c, to.part) + to.eps);
  if (Threads::lane() == 0) {
    if (CENTERED) to.mean[row] = mean;
    to.r[row] = r;
  }
  HeldRow<float> w, b = {};
  w.load(to.w, c, whole);
  if (CENTERED) b.load(to.b, c, whole);
#pragma unroll
  for (int p = 0; p < ROW_PIECES; p++)
    x.at[p] = apply<Element>([=](float x, float w, float b) { return (x - mean) * r * w + b; }, x.at[p], w.at[p],
                             b.at[p]);
  x.store(to.y + at, c, whole);
}

// Sums of dy z and of dy over the rows of a thread, for each of its columns; then over those of the block.
template <bool CENTERED>
struct Slopes {
  Vec<float, PIECE> dw[ROW_PIECES], db[CENTERED ? ROW_PIECES : 1];

  __device__ __forceinline__ void write(float* partials, int c) const {
    const long long kind = (long long)gridDim.x * c;
    float* to = partials + (long long)blockIdx.x * c;
#pragma unroll
    for (int p = 0; p < ROW_PIECES; p++) {
      write_piece(to, dw[p], p, c);
      if (CENTERED) write_piece(to + kind, db[CENTERED ? p : 0], p, c);
    }
  }

 private:
  // In the order of warps, which have different rows where BLOCK_ROWS is above 1.
  static __device__ __forceinline__ void write_piece(float* to, const Vec<float, PIECE>& mine, int p, int c) {
    __shared__ Vec<float, PIECE> of[BLOCK_ROWS][BLOCK_ROWS > 1 ? 32 : 1];
    const int first = place_of(p);
    if (BLOCK_ROWS == 1) {
      store<PIECE>(to + first, mine, c - first, false);
      return;
    }
    of[threadIdx.x / 32 % BLOCK_ROWS][threadIdx.x % (BLOCK_ROWS > 1 ? 32 : 1)] = mine;
    __syncthreads();
    const int column = p * 32 * PIECE + threadIdx.x;  // a thread adds up a column; there are 32 PIECE of them
    static_assert(BLOCK_ROWS == 1 || THREADS >= 32 * PIECE, "a thread for each column");
    if (threadIdx.x < 32 * PIECE && column < c) {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < BLOCK_ROWS; i++) sum += of[i][threadIdx.x / PIECE % 32].at[threadIdx.x % PIECE];
      to[column] = sum;
    }
    __syncthreads();
  }
};

template <bool CENTERED>
__device__ __forceinline__ void normalize_backward(const NormalizeBackward& from) {
  __shared__ float sum_of[2][ROW_WARPS], dot_of[2][ROW_WARPS];  // in turns: a thread may be a row ahead of another
  Slopes<CENTERED> slopes = {};
  const int apart = gridDim.x * BLOCK_ROWS, c = from.c;
  const bool whole = rows_aligned<PIECE>(from.dy, c) && rows_aligned<PIECE>(from.s, c) &&
                     rows_aligned<PIECE>(from.residual, c) && rows_aligned<PIECE>(from.w, c) &&
                     rows_aligned<PIECE>(from.dx, c);
  int turn = 0;
#pragma unroll 1
  for (int row = blockIdx.x * BLOCK_ROWS + threadIdx.x / Threads::LANES; row < from.m; row += apart, turn ^= 1) {
    const long long at = (long long)row * c;
    HeldRow<Element> dy, s, more = {};
    HeldRow<float> w;
    dy.load(from.dy + at, c, whole);
    s.load(from.s + at, c, whole);
    if (from.residual) more.load(from.residual + at, c, whole);
    const float mean = CENTERED ? from.mean[row] : 0, r = from.r[row];
    w.load(from.w, c, whole);
    float sum = 0, dot = 0;
#pragma unroll
    for (int p = 0; p < ROW_PIECES; p++)
#pragma unroll
      for (int j = 0; j < PIECE; j++) {  // elements behind the end of a row add nothing: their dy is 0
        const float slope = to_float(dy.at[p].at[j]), z = (to_float(s.at[p].at[j]) - mean) * r;
        slopes.dw[p].at[j] += slope * z;
        if (CENTERED) slopes.db[CENTERED ? p : 0].at[j] += slope;
        sum += w.at[p].at[j] * slope;
        dot += w.at[p].at[j] * slope * z;
      }
    sum = CENTERED ? mean_of(Threads::sum(sum, sum_of[turn]), c, from.part) : 0;
    dot = mean_of(Threads::sum(dot, dot_of[turn]), c, from.part);
#pragma unroll
    for (int p = 0; p < ROW_PIECES; p++) {
      const auto dx = [=](float slope, float s, float w, float more) {
        return r * (w * slope - sum - (s - mean) * r * dot) + more;
      };
      dy.at[p] = apply<Element>(dx, dy.at[p], s.at[p], w.at[p], more.at[p]);
    }
    dy.store(from.dx + at, c, whole);
  }
  slopes.write(from.partials, c);
}

#endif

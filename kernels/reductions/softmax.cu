// Softmax of rows and its gradient, alone and for attention, whose queries see only some of the keys
// Shapes: x, y, dy, dx (rows, K) of Element, contiguous; y may be x, dx may be dy. scores, dp (matrices, queries, keys)
//     of Element, rows ld apart, replaced by p and ds; log_sum_exp, delta float; lengths (N,) and segments (N, length)
//     int64 or null: struct Scores
// Launch: grid ceil(rows ROW_WARPS / 8), block 256. ROW_WARPS 1: a warp for each row; 8: a block, for long rows
// Roofline: a read and a write of each row; its second read comes from cache (dx, ds: two arrays are read, and for
//     attention two written); memory-bound. Oracle: ops/softmax.py, ops/attention.py.
// Source: Milakov and Gimelshein 2018, "Online normalizer calculation"; Dao et al. 2022, arXiv 2205.14135 (backward).
//
// Each thread keeps the maximum so far and the sum of exponentials against it, rescaled when the maximum grows; then
// the threads of a row merge, in an order that never changes. Backward computes p = exp(scores - log_sum_exp) again.
// The scale of attention is a factor of the products before and after. With dropout, p times its mask is written where p
// is: in both directions it is what is multiplied by values, or by their gradients.
#include "attention/attention.cuh"
#include "common/elements.cuh"
#include "common/ptx/exp2.cuh"
#include "reductions/row_threads.cuh"

#ifndef DROPS
#define DROPS 0  // 1: attention with dropout, whose masks take registers
#endif
#ifndef ROW_WARPS
#define ROW_WARPS 1
#endif
constexpr int WARPS = 8, LANES = 32 * ROW_WARPS;  // threads of a row
static_assert(ROW_WARPS == 1 || ROW_WARPS == WARPS, "a barrier of the block is one of the row");
constexpr float LOWEST = -3.402823466e38f;

// Scores of some queries of matrices of (outer, inner) numbers: one of them counts samples, the other one heads. Fields
// are int32, then int64, in this order.
struct Scores {
  int rows;           // of all matrices
  int queries, keys;  // of each
  int ld;
  int first;   // the first query is the token of this number, of the keys: below 0 where it lies before them
  int inner;   // matrix i has the numbers (i / inner, i % inner)
  int causal;  // 1: a query sees the keys up to its own
  int samples_inner;  // 1: samples are counted by i % inner, 0: by i / inner
  int key, length;    // the first key is this token of a row of so many: lengths and segments are those of rows
  long long outer_apart, inner_apart;  // of log_sum_exp: elements between matrices, whose queries are neighbors
};

// The factors of the keys of one query.
struct Factors {
  bool drops;
  int threshold, shift;  // from the beginning of a tick to the first key
  float scale;
  long long seed, layer, step;
  unsigned long long first_tick;

  __device__ __forceinline__ Factors() : drops(false), shift(0) {}
  __device__ __forceinline__ Factors(const Dropout& dropout, const long long* counters, long long row, int key)
      : drops(DROPS && dropout.threshold > 0), threshold(dropout.threshold), shift(key % TICK) {
    scale = 65536.f / (65536 - threshold);
    seed = dropout.seed, layer = dropout.layer, step = counters ? counters[0] : dropout.step;
    row += (counters ? counters[1] : dropout.first) * dropout.sample_apart;
    first_tick = (unsigned long long)row * ((dropout.columns + TICK - 1) / TICK) + key / TICK;
  }
  // Of the piece that begins at element i: those of two ticks where the first key does not begin with a piece.
  __device__ __forceinline__ Vec<float, PIECE> of(int i) const {
    Vec<float, PIECE> factors;
    Words bits = {}, more = {};
    const int column = shift + i, place = column % TICK;
    if (DROPS && drops) bits = random_words(first_tick + column / TICK, seed, layer, step);
    if (DROPS && drops && place > TICK - PIECE)
      more = random_words(first_tick + column / TICK + 1, seed, layer, step);
#pragma unroll
    for (int j = 0; j < PIECE; j++)
      factors.at[j] = !(DROPS && drops)  ? 1.f
                      : place + j < TICK ? factor_of(bits, place + j, threshold, scale)
                                         : factor_of(more, place + j - TICK, threshold, scale);
    return factors;
  }
};

// One row of scores.
struct Query {
  long long at;         // of its first element
  long long statistic;  // of its element of log_sum_exp
  int begin, end;       // it sees the keys from begin up to end; none where end is not above begin
  long long mask_row;   // in the masks of all samples from the first of the step on

  __device__ __forceinline__ Query(const Scores& scores, const long long* lengths, const long long* segments,
                                   const Dropout& dropout, int row) {
    const int matrix = row / scores.queries, query = row - matrix * scores.queries;
    const int outer = matrix / scores.inner, inner = matrix - outer * scores.inner;
    at = (long long)row * scores.ld;
    statistic = outer * scores.outer_apart + inner * scores.inner_apart + query;
    const int sample = scores.samples_inner ? inner : outer, own = scores.first + query;
    const int head = scores.samples_inner ? outer : inner;
    mask_row = dropout.base + sample * dropout.sample_apart + head * dropout.matrix_apart + query;
    begin = 0;
    end = scores.causal ? min(scores.keys, own + 1) : scores.keys;
    if (lengths) {
      const long long length = lengths[sample] - scores.key;
      if (length < end) end = length < 0 ? 0 : int(length);
    }
    if (segments) {
      const long long* row_of_keys = segments + (long long)sample * scores.length + scores.key;
      begin = first_not_below(row_of_keys, scores.keys, row_of_keys[own]);
      end = min(end, first_not_below(row_of_keys, scores.keys, row_of_keys[own] + 1));
    }
  }
};

__device__ __forceinline__ int row_of_thread() { return blockIdx.x * (WARPS / ROW_WARPS) + threadIdx.x / LANES; }

// body(i) for each piece, beginning at element i, that has elements from `begin` up to `end` of a row and is this
// thread's.
template <class Body>
__device__ __forceinline__ void for_each_piece_of_row(int begin, int end, Body body) {
  for (int i = begin / PIECE * PIECE + threadIdx.x % LANES * PIECE; i < end; i += LANES * PIECE) body(i);
}

// exp(x - largest)
__device__ __forceinline__ float exp_below(float x, float largest) { return exp2_approx((x - largest) * LOG2_E); }

// The numbers of a piece that begins at element i, -infinity in place of those that are not from `begin` up to `end`.
// Most pieces are whole, and nothing is compared.
__device__ __forceinline__ Vec<float, PIECE> seen_of(const Vec<Element, PIECE>& piece, int i, int begin, int end) {
  auto seen = apply<float>([](float x) { return x; }, piece);
  if (i < begin || i + PIECE > end) {
#pragma unroll
    for (int j = 0; j < PIECE; j++)
      if (i + j < begin || i + j >= end) seen.at[j] = -infinity();
  }
  return seen;
}

// y = softmax of the elements from `begin` up to `end`, 0 for the others of `count`. Returns the logarithm of the sum of
// exponentials, -infinity where nothing is seen. MASKED: all are 0 there; otherwise such a row is NaN.
template <bool MASKED>
__device__ __forceinline__ float softmax_of_row(const Element* x, Element* y, int begin, int end, int count,
                                                bool aligned, const Factors& factors = {}) {
  __shared__ float largest_of[ROW_WARPS], sum_of[ROW_WARPS];
  float largest = LOWEST, sum = 0;
  for_each_piece_of_row(begin, end, [&](int i) {
    const auto piece = seen_of(load<PIECE>(x + i, end - i, aligned), i, begin, end);
    float next = largest;
#pragma unroll
    for (int j = 0; j < PIECE; j++) next = fmaxf(next, piece.at[j]);
    sum *= exp_below(largest, next);
    largest = next;
#pragma unroll
    for (int j = 0; j < PIECE; j++) sum += exp_below(piece.at[j], largest);
  });
  const float of_row = RowThreads<ROW_WARPS>::max(largest, largest_of);
  sum = RowThreads<ROW_WARPS>::sum(sum * exp_below(largest, of_row), sum_of);
  const float share = MASKED && sum < 1 ? 1 : 1 / sum;  // the largest that is seen gives 1
  for_each_piece_of_row(0, count, [&](int i) {
    auto p = seen_of(load<PIECE>(x + i, end - i, aligned), i, begin, end);
    const auto factor = factors.of(i);
#pragma unroll
    for (int j = 0; j < PIECE; j++)
      p.at[j] = MASKED && p.at[j] == -infinity() ? 0 : exp_below(p.at[j], of_row) * share * factor.at[j];
    store<PIECE>(y + i, Rounded<Element>::from(p), count - i, aligned);
  });
  return of_row + logf(sum);
}

// dx = p (dy - sum of p dy), or `delta` instead of the sum where it is `given`. FROM_SCORES: p = exp(p - log_sum_exp) for the elements from
// `begin` up to `end`, 0 for the others of `count`, is written first. With factors, dy is the gradient of p times them,
// which is written in the end.
template <bool FROM_SCORES, class P>
__device__ __forceinline__ void softmax_dx_of_row(P* p, const Element* dy, Element* dx, float log_sum_exp, int begin,
                                                  int end, int count, bool aligned, const Factors& factors = {},
                                                  bool given = false, float delta = 0) {
  __shared__ float dot_of[ROW_WARPS];
  float dot = 0;
  for_each_piece_of_row(0, count, [&](int i) {
    auto value = load<PIECE>(p + i, end - i, aligned);
    const auto slope = load<PIECE>(dy + i, end - i, aligned);
    if constexpr (FROM_SCORES) {
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        const bool seen = i + j >= begin && i + j < end;
        value.at[j] = Convert<Element>::from(seen ? expf(to_float(value.at[j]) - log_sum_exp) : 0);
      }
      store<PIECE>(p + i, value, count - i, aligned);
    }
    const auto factor = factors.of(i);
#pragma unroll
    for (int j = 0; j < PIECE; j++) dot += to_float(value.at[j]) * to_float(slope.at[j]) * factor.at[j];
  });
  dot = FROM_SCORES && given ? delta : RowThreads<ROW_WARPS>::sum(dot, dot_of);
  for_each_piece_of_row(0, count, [&](int i) {
    const auto value = load<PIECE>(p + i, end - i, aligned);
    const auto slope = load<PIECE>(dy + i, end - i, aligned);
    const auto factor = factors.of(i);
    const auto gradient = apply<Element>([=](float p, float slope, float f) { return p * (slope * f - dot); }, value, slope,
                                         factor);
    store<PIECE>(dx + i, gradient, count - i, aligned);
    if constexpr (FROM_SCORES && DROPS)
      if (factors.drops)
        store<PIECE>(p + i, apply<Element>([](float p, float f) { return p * f; }, value, factor), count - i, aligned);
  });
}

extern "C" __global__ void __launch_bounds__(256) softmax_forward(const Element* x, Element* y, int rows, int k) {
  const int row = row_of_thread();
  if (row >= rows) return;
  const long long at = (long long)row * k;
  const bool aligned = rows_aligned<PIECE>(x, k) && rows_aligned<PIECE>(y, k);
  softmax_of_row<false>(x + at, y + at, 0, k, k, aligned);
}

extern "C" __global__ void __launch_bounds__(256)
softmax_dx(const Element* y, const Element* dy, Element* dx, int rows, int k) {
  const int row = row_of_thread();
  if (row >= rows) return;
  const long long at = (long long)row * k;
  const bool aligned = rows_aligned<PIECE>(y, k) && rows_aligned<PIECE>(dy, k) && rows_aligned<PIECE>(dx, k);
  softmax_dx_of_row<false>(y + at, dy + at, dx + at, 0, 0, k, k, aligned);
}

extern "C" __global__ void __launch_bounds__(256)
attention_softmax(Element* p, float* log_sum_exp, const long long* lengths, const long long* segments,
                  const Scores scores, const Dropout dropout, const long long* counters) {
  const int row = row_of_thread();
  if (row >= scores.rows) return;
  const Query query(scores, lengths, segments, dropout, row);
  const Factors factors(dropout, counters, query.mask_row, scores.key);
  const bool aligned = rows_aligned<PIECE>(p, scores.ld);
  Element* own = p + query.at;
  const float statistic = softmax_of_row<true>(own, own, query.begin, query.end, scores.keys, aligned, factors);
  if (threadIdx.x % LANES == 0) log_sum_exp[query.statistic] = statistic;
}

extern "C" __global__ void __launch_bounds__(256)
attention_softmax_dx(Element* p, Element* ds, const float* log_sum_exp, const float* delta, const long long* lengths,
                     const long long* segments, const Scores scores, const Dropout dropout, const long long* counters) {
  const int row = row_of_thread();
  if (row >= scores.rows) return;
  const Query query(scores, lengths, segments, dropout, row);
  const Factors factors(dropout, counters, query.mask_row, scores.key);
  const bool aligned = rows_aligned<PIECE>(p, scores.ld) && rows_aligned<PIECE>(ds, scores.ld);
  const float statistic = log_sum_exp[query.statistic];
  Element *own = p + query.at, *slopes = ds + query.at;
  softmax_dx_of_row<true>(own, slopes, slopes, statistic, query.begin, query.end, scores.keys, aligned, factors,
                          delta, delta ? delta[query.statistic] : 0);
}

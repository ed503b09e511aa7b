// Attention: the record that all fused kernels of attention take by value, and what follows from it alone.
// Letters: N samples, H heads, Hk heads of keys and values, S queries, T keys, D numbers of a head. Arrays are of T
// (float or bf16), with any strides of samples, heads and tokens, so that parts of packed rows (N, S, 3 H D) are read
// where they lie; the numbers of a head are neighbors. Oracle: ops/attention.py. Layout in Python:
// ops/cuda/attention_record.py.
//
// Queries and keys are any tokens of longer rows (of ring attention): query 0 is token `query` of its row, key 0 is
// token `key`. All masks together leave each query the keys of one interval, and each key the queries of one; the
// bounds of both never decrease from row to row. So whole tiles are skipped by their first and last row, and tiles in
// the middle of all intervals need no look at bounds.
#pragma once
#include "common/numbers.cuh"
#include "common/philox.cuh"

// The logarithm of an empty sum. (NVRTC has no INFINITY.)
__device__ __forceinline__ float minus_infinity() { return float_from_bits(0xFF800000u); }

// Masks of dropout, as ops/attention.py has them: fields are int64, then int32, in this order.
struct Dropout {
  long long seed, layer, step, first;
  long long base;                       // the row of the mask, in a sample, of query 0 of the first matrix of a launch
  long long sample_apart, matrix_apart;  // rows from sample to sample, and from head to head
  int threshold;                        // of 65536: 0 drops nothing
  int columns;
};

// Elements from one sample, head or token to the next.
struct Apart {
  long long sample, head, token;
};

template <class T>
struct Attention {
  const T *q, *k, *v;
  T* y;  // written forward; read by attention_delta
  const T* dy;
  T *dq, *dk, *dv;
  float* log_sum_exp;          // (N, H, S), contiguous: natural logarithms, -infinity where a query sees no key
  float* delta;                // (N, H, S), contiguous: sums of y dy
  const long long* lengths;    // (N,) or null: tokens of a row that count
  const long long* segments;   // (N, length) or null: numbers that do not decrease along a row
  const long long* counters;   // step and first sample of the masks instead of those in `dropout`, or null
  Apart of_q, of_k, of_v, of_y, of_dy, of_dq, of_dk, of_dv;
  Dropout dropout;
  int samples, heads, group;   // N, H, H / Hk: head h reads keys and values of head h / group
  int queries, keys, size;     // S, T, D
  int causal;                  // 1: a query sees the keys up to its own token
  int query, key, length;      // of a row of `length` tokens, query 0 and key 0 are these
  float scale;
  int unused;
};
#if __SIZEOF_POINTER__ == 8
static_assert(sizeof(Attention<float>) == 13 * 8 + 8 * 24 + 64 + 48, "the layout that Python writes");
#endif

// Keys that a query sees, or queries that see a key: from begin up to end, none where end is not above begin.
struct Interval {
  int begin, end;
};

// The place of the first of `count` ascending numbers that is at least `number`.
__device__ __forceinline__ int first_not_below(const long long* numbers, int count, long long number) {
  int low = 0;
  while (low < count) {
    const int middle = low + (count - low) / 2;
    if (numbers[middle] < number)
      low = middle + 1;
    else
      count = middle;
  }
  return low;
}

// Keys that are in a row of tokens, of those of this launch.
template <class T>
__device__ __forceinline__ int keys_in_row(const Attention<T>& attention, int sample) {
  if (!attention.lengths) return attention.keys;
  const long long left = attention.lengths[sample] - attention.key;
  return left < 0 ? 0 : left < attention.keys ? int(left) : attention.keys;
}

// The keys that query number `query` of a sample sees.
template <class T>
__device__ __forceinline__ Interval keys_of_query(const Attention<T>& attention, int sample, int query) {
  const int own = attention.query - attention.key + query;  // its token, counted from the first key
  Interval seen = {0, keys_in_row(attention, sample)};
  if (attention.causal) seen.end = min(seen.end, own + 1);
  if (attention.segments) {
    const long long* row = attention.segments + (long long)sample * attention.length + attention.key;
    seen.begin = first_not_below(row, attention.keys, row[own]);
    seen.end = min(seen.end, first_not_below(row, attention.keys, row[own] + 1));
  }
  return seen;
}

// The queries that see key number `key` of a sample.
template <class T>
__device__ __forceinline__ Interval queries_of_key(const Attention<T>& attention, int sample, int key) {
  if (key >= keys_in_row(attention, sample)) return {attention.queries, attention.queries};
  const int own = attention.key - attention.query + key;  // its token, counted from the first query
  Interval seen = {attention.causal ? max(0, own) : 0, attention.queries};
  if (attention.segments) {
    const long long* row = attention.segments + (long long)sample * attention.length + attention.query;
    seen.begin = max(seen.begin, first_not_below(row, attention.queries, row[own]));
    seen.end = first_not_below(row, attention.queries, row[own] + 1);
  }
  return seen;
}

// The first number of head `head` of a sample.
template <class Array>
__device__ __forceinline__ Array head_of(Array array, const Apart& apart, int sample, int head) {
  return array + (sample * apart.sample + head * apart.head);
}

// The place of a head's first query in log_sum_exp and delta.
template <class T>
__device__ __forceinline__ long long statistics_of(const Attention<T>& attention, int sample, int head) {
  return ((long long)sample * attention.heads + head) * attention.queries;
}

// The masks of the matrix of scores of one head. Kept in shared memory: it takes too many registers.
struct HeadMasks {
  long long seed, layer, step;
  long long row;       // of query 0
  int ticks_of_row, first_tick;  // first_tick: of key 0, whose place in it is key % TICK
  int threshold;

  template <class T>
  __device__ __forceinline__ void set(const Attention<T>& attention, int sample, int head) {
    const Dropout& dropout = attention.dropout;
    const long long* counters = attention.counters;
    seed = dropout.seed, layer = dropout.layer, step = counters ? counters[0] : dropout.step;
    row = dropout.base + ((counters ? counters[1] : dropout.first) + sample) * dropout.sample_apart +
          head * dropout.matrix_apart;
    ticks_of_row = (dropout.columns + TICK - 1) / TICK;
    first_tick = attention.key / TICK;
    threshold = dropout.threshold;
  }
  // Bit i: whether the key at place i of tick `tick`, counted from that of key 0, is kept for a query.
  __device__ __forceinline__ unsigned kept(long long query, int tick) const {
    const unsigned long long place = (unsigned long long)(row + query) * ticks_of_row + first_tick + tick;
    const Words words = random_words(place, seed, layer, step);
    unsigned bits = 0;
#pragma unroll
    for (int i = 0; i < TICK; i++) bits |= unsigned(int(words.word(i / 4) >> 16 * (i % 4) & 0xFFFF) >= threshold) << i;
    return bits;
  }
};

// What is kept is multiplied by this: 1 / (1 - p).
__device__ __forceinline__ float scale_of_kept(const Dropout& dropout) { return 65536.f / (65536 - dropout.threshold); }

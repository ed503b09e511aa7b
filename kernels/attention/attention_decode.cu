// Attention of few queries, such as the next token of a text: it reads keys and values once, from a cache or anywhere
// Shapes: q, y (N, H, S, D), k, v (N, Hk, T, D) of Element, any strides of samples, heads and tokens; log_sum_exp (N,
//     H, S) float: struct Attention of attention/attention.cuh. D up to HEAD. partials (parts, N H S, D + 1) float where
//     parts > 1: results over the keys of each part, and their log_sum_exp
// Launch: attention_decode: grid parts ceil(S H / Hk / ROWS) Hk N, block THREADS; attention_merge, where parts > 1:
//     D x H S x N, any grid and block, z of the block 1
// Roofline: a read of k and v; memory-bound, in fp32 up to some 10 queries of a group. Oracle: ops/attention.py.
// Source: Dao et al. 2023, "Flash-Decoding for long-context inference"; Shazeer 2019, arXiv 1911.02150 (shared keys).
//     Has not run on a GPU.
//
// A block has ROWS queries, of the heads that share a head of keys, and the keys of one part. Eight lanes take a key,
// 16 streams of lanes every sixteenth, UNROLL keys at a time, each with sums of its own as in attention_mma.cu. In the
// end the streams merge, and then the parts, both in their order: the same bits every time. Everything is computed in
// fp32.
#define ELEMENT_PIECE 4  // also in bf16: the lanes of a stream share a head evenly
#include "attention/attention.cuh"
#include "common/elements.cuh"
#include "common/ptx/exp2.cuh"

#ifndef HEAD
#define HEAD 64  // D, rounded up
#endif
#define ROWS (HEAD > 64 ? 2 : 256 / HEAD)
#define UNROLL (HEAD > 64 ? 2 : 4)
#define THREADS 128

constexpr int LANES = 8, STREAMS = THREADS / LANES;
constexpr float LOWEST = -1e38f;  // in place of -infinity, whose differences are no numbers
constexpr int PIECES = HEAD / (LANES * PIECE), NUMBERS = PIECES * PIECE;  // of a head, of a lane
static_assert(HEAD % (LANES * PIECE) == 0, "lanes share a head evenly");

__device__ __forceinline__ int lane_of_stream() { return threadIdx.x % LANES; }

// This lane's numbers of a head: PIECES pieces, LANES pieces apart.
__device__ __forceinline__ void read_numbers(float (&numbers)[NUMBERS], const Element* from, int size, bool aligned) {
#pragma unroll
  for (int i = 0; i < PIECES; i++) {
    const int first = (i * LANES + lane_of_stream()) * PIECE;
    const auto piece = load<PIECE>(from + (first < size ? first : 0), size - first, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++) numbers[i * PIECE + j] = to_float(piece.at[j]);
  }
}

__device__ __forceinline__ float stream_sum(float x) {
#pragma unroll
  for (int apart = LANES / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(~0u, x, apart);
  return x;
}

// The rows of a block: queries of a group of heads, head by head.
struct RowPlace {
  int head, query;
  __device__ __forceinline__ RowPlace(const Attention<Element>& attention, int kv_head, int row) {
    const int in_group = row / attention.queries;
    head = kv_head * attention.group + in_group, query = row - in_group * attention.queries;
  }
};

// Exponentials against the largest score so far, in powers of 2; and their products with values.
struct Sums {
  float largest, sum, y[NUMBERS];
};

extern "C" __global__ void __launch_bounds__(THREADS)
attention_decode(const Attention<Element> attention, float* partials, int parts, int keys_of_part) {
  __shared__ float results[STREAMS][ROWS][HEAD], largest[STREAMS][ROWS], sums[STREAMS][ROWS];
  __shared__ Interval seen[ROWS];
  const int rows = attention.group * attention.queries, kv_heads = attention.heads / attention.group;
  const int chunks = (rows + ROWS - 1) / ROWS, chunk_number = blockIdx.x / parts, part = blockIdx.x % parts;
  const int matrix = chunk_number / chunks, first_row = chunk_number % chunks * ROWS;
  const int sample = matrix / kv_heads, kv_head = matrix % kv_heads, size = attention.size;
  if (threadIdx.x < ROWS) {
    const RowPlace place(attention, kv_head, min(first_row + int(threadIdx.x), rows - 1));
    seen[threadIdx.x] = keys_of_query(attention, sample, place.query);
  }
  __syncthreads();

  Interval range = seen[0];
  float q[ROWS][NUMBERS];
  Sums mine[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    const RowPlace place(attention, kv_head, min(first_row + i, rows - 1));
    const Element* from = head_of(attention.q, attention.of_q, sample, place.head) + place.query * attention.of_q.token;
    read_numbers(q[i], from, size, rows_aligned<PIECE>(from, 0));
#pragma unroll
    for (int j = 0; j < NUMBERS; j++) q[i][j] *= attention.scale * LOG2_E;
    mine[i] = {minus_infinity(), 0, {}};
    range = {min(range.begin, seen[i].begin), max(range.end, seen[i].end)};
  }
  const int last_key = attention.keys - 1;
  const int begin = max(range.begin, part * keys_of_part), end = min(range.end, (part + 1) * keys_of_part);
  const Element* const keys = head_of(attention.k, attention.of_k, sample, kv_head);
  const Element* const values = head_of(attention.v, attention.of_v, sample, kv_head);
  const bool aligned = rows_aligned<PIECE>(keys, int(attention.of_k.token % PIECE)) &&
                       rows_aligned<PIECE>(values, int(attention.of_v.token % PIECE));

  for (int first = begin; first < end; first += STREAMS * UNROLL) {
    const int own = first + threadIdx.x / LANES;
    float k[UNROLL][NUMBERS], v[UNROLL][NUMBERS];
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {  // keys behind the last one repeat it
      const long long key = min(own + u * STREAMS, last_key);
      read_numbers(k[u], keys + key * attention.of_k.token, size, aligned);
      read_numbers(v[u], values + key * attention.of_v.token, size, aligned);
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
      float scores[UNROLL], next = mine[i].largest;
#pragma unroll
      for (int u = 0; u < UNROLL; u++) {
        const int key = own + u * STREAMS;
        float score = 0;
#pragma unroll
        for (int j = 0; j < NUMBERS; j++) score += q[i][j] * k[u][j];
        score = stream_sum(score);
        scores[u] = key < end && key >= seen[i].begin && key < seen[i].end ? score : minus_infinity();
        next = fmaxf(next, scores[u]);
      }
      const float base = next == minus_infinity() ? 0 : next, rescale = exp2_approx(mine[i].largest - base);
      mine[i].largest = next;
      mine[i].sum *= rescale;
#pragma unroll
      for (int j = 0; j < NUMBERS; j++) mine[i].y[j] *= rescale;
#pragma unroll
      for (int u = 0; u < UNROLL; u++) {
        const float p = exp2_approx(scores[u] - base);
        mine[i].sum += p;
#pragma unroll
        for (int j = 0; j < NUMBERS; j++) mine[i].y[j] += p * v[u][j];
      }
    }
  }

  const int stream = threadIdx.x / LANES;
#pragma unroll
  for (int i = 0; i < ROWS; i++) {
    if (lane_of_stream() == 0) largest[stream][i] = mine[i].largest, sums[stream][i] = mine[i].sum;
#pragma unroll
    for (int j = 0; j < NUMBERS; j++)
      results[stream][i][(j / PIECE * LANES + lane_of_stream()) * PIECE + j % PIECE] = mine[i].y[j];
  }
  __syncthreads();
  for (int at = threadIdx.x; at < ROWS * HEAD; at += THREADS) {
    const int i = at / HEAD, number = at % HEAD;
    float most = minus_infinity(), sum = 0, y = 0;
    for (int j = 0; j < STREAMS; j++) most = fmaxf(most, largest[j][i]);
    if (most == minus_infinity()) most = 0;
    for (int j = 0; j < STREAMS; j++) {
      const float weight = exp2_approx(largest[j][i] - most);
      sum += weight * sums[j][i];
      y += weight * results[j][i][number];
    }
    y = sum == 0 ? 0 : y / sum;  // NaN stays
    if (first_row + i >= rows || number >= size) continue;
    const RowPlace place(attention, kv_head, first_row + i);
    const long long statistic = statistics_of(attention, sample, place.head) + place.query;
    const float logarithm = sum == 0 ? minus_infinity() : most * LN_2 + logf(sum);
    if (parts > 1) {
      const long long all = (long long)attention.samples * attention.heads * attention.queries;
      float* own = partials + (part * all + statistic) * (size + 1);
      own[number] = y;
      if (number == 0) own[size] = logarithm;
    } else {
      head_of(attention.y, attention.of_y, sample, place.head)[place.query * attention.of_y.token + number] =
          Convert<Element>::from(y);
      if (number == 0) attention.log_sum_exp[statistic] = logarithm;
    }
  }
}

// y = the sum of the parts' results, weighted by their shares of the sum of exponentials.
extern "C" __global__ void __launch_bounds__(256)
attention_merge(const Attention<Element> attention, const float* partials, int parts) {
  const long long all = (long long)attention.samples * attention.heads * attention.queries;
  const long long apart = all * (attention.size + 1);
  const int rows = attention.heads * attention.queries;
  for_each_layer(attention.samples, [&](int sample) {
    for_each_down(rows, [&](int row) {
      const float* const of_row = partials + ((long long)sample * rows + row) * (attention.size + 1);
      float most = LOWEST, sum = 0;
      for (int part = 0; part < parts; part++) most = fmaxf(most, of_row[part * apart + attention.size]);
      for (int part = 0; part < parts; part++) sum += expf(of_row[part * apart + attention.size] - most);
      const float share = sum == 0 ? 0 : 1 / sum;
      const int head = row / attention.queries, query = row - head * attention.queries;
      Element* const out = head_of(attention.y, attention.of_y, sample, head) + query * attention.of_y.token;
      for_each_across(attention.size, [&](int number) {
        float y = 0;
        for (int part = 0; part < parts; part++)
          y += expf(of_row[part * apart + attention.size] - most) * of_row[part * apart + number];
        out[number] = Convert<Element>::from(y * share);
      });
      if (blockIdx.x == 0 && threadIdx.x == 0)
        attention.log_sum_exp[(long long)sample * rows + row] = sum == 0 ? minus_infinity() : most + logf(sum);
    });
  });
}

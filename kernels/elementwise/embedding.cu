// Rows of a table, and the gradient of the table
// Shapes: ids (M,) int64; order (M,) int32: the positions of ids, sorted stably by id; starts (M,) int32: the place in
//     `order` where the run of equal ids around a place begins; table (V, D) float, or bf16 with TABLE_BF16; dtable
//     (V, D), partials (2 ceil(M / 64), D) float; y, dy (M, D) of Element. An id outside of [0, V) gives a row of NaN
//     and has no gradient: to say more would be to wait for the GPU.
// Launch: embedding_order: grid ceil(M / 64), block 256; forward, dw: grid M, block 128: a block a row (for dw: a place
//     in `order`); merge, where M is above 64: grid ceil(M / 64), block 128
// Roofline: one read and one write of M D elements; memory-bound. order: M^2 comparisons by 3.4 instructions, by which
//     8192 ids take 8 us on an H100, and 16384 32. Oracle: ops/embedding.py. Has not run on a GPU.
//
// A position's place in the order is the number of ids that come before its own: counted, not sorted, since it needs no
// memory and no second launch. The gradient adds rows of equal id in their order in the batch, PART of them in a block.
// The blocks of a longer run, as of a frequent word, leave their sums to `merge`, which adds them up in order. No
// atomics: the same bits every time.
#include "common/elements.cuh"

#ifndef TABLE_BF16
#define TABLE_BF16 0
#endif
using Table = FloatOrBf16<TABLE_BF16>::Type;

constexpr int COUNTERS = 256, LANES = 4;  // lanes that count for one id
constexpr int PART = 64;                  // rows of a run that a block adds up
constexpr int BEHIND = 0x7FFFFFFE;        // above all keys; their differences are below 2^31

// An id in 32 bits; all that no table has are one key, the smallest.
__device__ __forceinline__ int key_of(long long id) { return id >= 0 && id < BEHIND ? int(id) : -1; }

// Keys of a tile that are less than `own`, and those that are equal and stand before place `before` of the tile.
// MAY_STAND 0: none does, 1: all do, 2: look. A lane has every LANES-th four.
template <int MAY_STAND>
__device__ __forceinline__ void count(const Vec<int, 4> (&tile)[COUNTERS / 4], int own, int before, int& below,
                                      int& equal) {
  int less = 0, more = 0;
#pragma unroll 8
  for (int i = threadIdx.x % LANES; i < COUNTERS / 4; i += LANES) {
    const auto keys = tile[i];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      less += unsigned(keys.at[j] - own) >> 31;  // 1 where less, by two instructions
      if (MAY_STAND == 1) more += unsigned(own - keys.at[j]) >> 31;
      if (MAY_STAND == 2) equal += keys.at[j] == own && 4 * i + j < before;
    }
  }
  below += less;
  if (MAY_STAND == 1) equal += COUNTERS / LANES - less - more;
}

extern "C" __global__ void __launch_bounds__(COUNTERS)
embedding_order(const long long* ids, int* order, int* starts, int m) {
  constexpr int OWN = COUNTERS / LANES;  // ids of a block: neighbors, in one tile
  __shared__ Vec<int, 4> tile[COUNTERS / 4];
  const int first_own = blockIdx.x * OWN, at = first_own + threadIdx.x / LANES;
  const auto key_at = [=](int i) { return i < m ? key_of(ids[i]) : BEHIND; };
  const int own = key_at(at);
  int below = 0, equal = 0, next = key_at(threadIdx.x);
  for (int first = 0; first < m; first += COUNTERS) {
    tile[threadIdx.x / 4].at[threadIdx.x % 4] = next;
    __syncthreads();
    next = key_at(first + COUNTERS + threadIdx.x);  // under way while this tile is counted
    if (first > first_own)
      count<0>(tile, own, 0, below, equal);
    else if (first + COUNTERS <= first_own)
      count<1>(tile, own, 0, below, equal);
    else
      count<2>(tile, own, at - first, below, equal);
    __syncthreads();
  }
#pragma unroll
  for (int apart = 1; apart < LANES; apart *= 2) {
    below += __shfl_xor_sync(~0u, below, apart);
    equal += __shfl_xor_sync(~0u, equal, apart);
  }
  if (at >= m || threadIdx.x % LANES > 0) return;
  order[below + equal] = at;
  starts[below + equal] = below;
}

extern "C" __global__ void __launch_bounds__(128)
embedding_forward(const long long* ids, const Table* table, Element* y, int d, long long num_rows) {
  const long long id = ids[blockIdx.x];
  const bool inside = id >= 0 && id < num_rows, aligned = rows_aligned<PIECE>(table, d) && rows_aligned<PIECE>(y, d);
  const Table* from = table + (inside ? id * d : 0);
  Element* to = y + (long long)blockIdx.x * d;
  for (int i = threadIdx.x * PIECE; i < d; i += blockDim.x * PIECE) {
    const auto row = load<PIECE>(from + i, inside ? d - i : 0, aligned);
    const auto piece = apply<Element>([=](float x) { return inside ? x : float_from_bits(0x7FC00000); }, row);
    store<PIECE>(to + i, piece, d - i, aligned);
  }
}

// Where a part of a long run leaves its sum. 64 neighboring places hold at most two beginnings of parts: of one run
// that is not its first, and the first of another.
__device__ __forceinline__ float* partial_of(float* partials, int place, int start, int d) {
  return partials + (place / PART * 2ll + (place == start)) * d;
}

extern "C" __global__ void __launch_bounds__(128)
embedding_dw(const long long* ids, const int* order, const int* starts, const Element* dy, float* dtable,
             float* partials, int m, int d, long long num_rows) {
  const int place = blockIdx.x, start = starts[place];
  if ((place - start) % PART) return;
  const long long id = ids[order[place]];
  if (id < 0 || id >= num_rows) return;
  __shared__ int end;  // of the run, or of this part of it: one thread sees it
  const int seen = place + threadIdx.x;
  if (threadIdx.x < PART && seen < m && starts[seen] == start)
    if (threadIdx.x == PART - 1 || seen + 1 == m || starts[seen + 1] != start) end = seen + 1;
  __syncthreads();
  const int stop = end;
  const bool whole = place == start && (stop == m || starts[stop] != start);
  float* to = whole ? dtable + id * d : partial_of(partials, place, start, d);
  const bool aligned = rows_aligned<PIECE>(dy, d);
  for (int i = threadIdx.x * PIECE; i < d; i += blockDim.x * PIECE) {
    Vec<float, PIECE> sum = {};
    int at = place;
    for (; at + 3 < stop; at += 4) {  // four loads under way
      Vec<Element, PIECE> rows[4];
#pragma unroll
      for (int r = 0; r < 4; r++) rows[r] = load<PIECE>(dy + (long long)order[at + r] * d + i, d - i, aligned);
#pragma unroll
      for (int r = 0; r < 4; r++) sum = apply<float>([](float a, float b) { return a + b; }, sum, rows[r]);
    }
    for (; at < stop; at++)
      sum = apply<float>([](float a, float b) { return a + b; }, sum,
                         load<PIECE>(dy + (long long)order[at] * d + i, d - i, aligned));
#pragma unroll
    for (int j = 0; j < PIECE; j++)
      if (i + j < d) to[i + j] = whole ? to[i + j] + sum.at[j] : sum.at[j];
  }
}

// The runs of more than one part, of which 64 neighboring places hold the beginning of one at most.
extern "C" __global__ void __launch_bounds__(128)
embedding_merge(const long long* ids, const int* order, const int* starts, float* dtable, float* partials, int m, int d,
                long long num_rows) {
  __shared__ int found;
  if (threadIdx.x == 0) found = m;
  __syncthreads();
  const int own = blockIdx.x * PART + threadIdx.x;
  if (threadIdx.x < PART && own + PART < m && starts[own] == own && starts[own + PART] == own) found = own;
  __syncthreads();
  const int start = found;
  if (start == m) return;
  const long long id = ids[order[start]];
  if (id < 0 || id >= num_rows) return;
  for (int i = threadIdx.x; i < d; i += blockDim.x) {
    float sum = 0;
    for (int place = start; place < m && starts[place] == start; place += PART)
      sum += partial_of(partials, place, start, d)[i];
    dtable[id * d + i] += sum;
  }
}

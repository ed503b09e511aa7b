// Rows of a table, and the gradient of the table
// Shapes: ids (M,) int64; order (M,) int32: the positions of ids, sorted stably by id; table (V, D) float, or bf16
//     with TABLE_BF16; dtable (V, D) float; y, dy (M, D) of Element. An id outside of [0, V) gives a row of NaN and has
//     no gradient: to say more would be to wait for the GPU.
// Launch: embedding_order: grid ceil(M / 256), block 256; the others: grid M, block 128: a block a row (for dw: a
//     position in `order`)
// Roofline: one read and one write of M D elements; memory-bound. order: M^2 comparisons, 10 us for 8192 ids on a large
//     GPU by counting instructions. Oracle: ops/embedding.py.
//
// A position's place in the order is the number of ids that come before its own: counted, not sorted, since it needs no
// memory and no second launch. The gradient adds rows of equal id in their order in the batch: the block at the first of
// them does the whole run. No atomics: the same bits every time.
#include "common/elements.cuh"

#ifndef TABLE_BF16
#define TABLE_BF16 0
#endif
using Table = FloatOrBf16<TABLE_BF16>::Type;

constexpr int COUNTERS = 256;

extern "C" __global__ void __launch_bounds__(COUNTERS) embedding_order(const long long* ids, int* order, int m) {
  __shared__ long long tile[COUNTERS];
  const int at = blockIdx.x * COUNTERS + threadIdx.x;
  const long long id = at < m ? ids[at] : 0;
  int before = 0;
  for (int first = 0; first < m; first += COUNTERS) {
    if (first + int(threadIdx.x) < m) tile[threadIdx.x] = ids[first + threadIdx.x];
    __syncthreads();
    const int count = min(COUNTERS, m - first), equal_until = at - first;  // equal ids count if they stand before
    for (int i = 0; i < count; i++) before += tile[i] < id || (tile[i] == id && i < equal_until);
    __syncthreads();
  }
  if (at < m) order[before] = at;
}

extern "C" __global__ void __launch_bounds__(128)
embedding_forward(const long long* ids, const Table* table, Element* y, int d, long long num_rows) {
  const long long id = ids[blockIdx.x];
  const bool inside = id >= 0 && id < num_rows;
  for (int i = threadIdx.x; i < d; i += blockDim.x)
    y[(long long)blockIdx.x * d + i] = Convert<Element>::from(inside ? to_float(table[id * d + i]) : float_from_bits(0x7FC00000));
}

extern "C" __global__ void __launch_bounds__(128)
embedding_dw(const long long* ids, const int* order, const Element* dy, float* dtable, int m, int d,
             long long num_rows) {
  const int start = blockIdx.x;
  const long long id = ids[order[start]];
  if (id < 0 || id >= num_rows || (start > 0 && ids[order[start - 1]] == id)) return;
  int stop = start + 1;
  while (stop < m && ids[order[stop]] == id) stop++;
  for (int i = threadIdx.x; i < d; i += blockDim.x) {
    float sum = 0;
    for (int at = start; at < stop; at++) sum += to_float(dy[(long long)order[at] * d + i]);
    dtable[id * d + i] += sum;
  }
}

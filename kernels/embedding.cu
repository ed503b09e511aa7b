// Rows of a table, and the gradient of the table
// Shapes: ids (M,) int64 in [0, V); order (M,) int64: the positions of ids, sorted stably by id; table, dtable (V, D)
//     float; y, dy (M, D) of Element
// Launch: grid M, block 128: a block a row (for dw: a position in `order`)
// Roofline: one read and one write of M D elements; memory-bound. Oracle: ops/embedding.py.
//
// The gradient adds rows of equal id in their order in the batch: the block at the first of them does the whole run.
// No atomics: the same bits every time.
#include "common/elements.cuh"

extern "C" __global__ void __launch_bounds__(128)
embedding_forward(const long long* ids, const float* table, Element* y, int d) {
  const float* row = table + ids[blockIdx.x] * d;
  for (int i = threadIdx.x; i < d; i += blockDim.x) y[(long long)blockIdx.x * d + i] = Convert<Element>::from(row[i]);
}

extern "C" __global__ void __launch_bounds__(128)
embedding_dw(const long long* ids, const long long* order, const Element* dy, float* dtable, int m, int d) {
  const int start = blockIdx.x;
  const long long id = ids[order[start]];
  if (start > 0 && ids[order[start - 1]] == id) return;
  int stop = start + 1;
  while (stop < m && ids[order[stop]] == id) stop++;
  for (int i = threadIdx.x; i < d; i += blockDim.x) {
    float sum = 0;
    for (int at = start; at < stop; at++) sum += to_float(dy[order[at] * d + i]);
    dtable[id * d + i] += sum;
  }
}

// Squared error: difference = y - t and the sums of each block; then its gradient, in place
// Shapes: y, difference (n,) of Element, t (n,) float; totals (grid, 3) float: elements, squares and 0 of each block
// Launch: block 256; grid any, at best ceil(n / 1024) or a few blocks per SM, whichever is less
// Roofline: 8 bytes read, 4 written for each element; memory-bound. Oracle: ops/mse.py.
#include "common/elements.cuh"
#include "common/reduce.cuh"

extern "C" __global__ void __launch_bounds__(256)
squared_error(const Element* y, const float* t, Element* difference, float* totals, long long n) {
  __shared__ float parts[2][8];
  const bool aligned = piece_aligned(y) && piece_aligned(t) && piece_aligned(difference);
  float seen = 0, squares = 0;
  for_each_piece(n, [&](long long i, int count) {
    const auto output = load<PIECE>(y + i, count, aligned);
    const auto target = load<PIECE>(t + i, count, aligned);
    Vec<Element, PIECE> apart;
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      const float x = to_float(output.at[j]) - target.at[j];
      apart.at[j] = Convert<Element>::from(x);
      squares += x * x;
    }
    seen += count;
    store<PIECE>(difference + i, apart, count, aligned);
  });
  seen = block_sum(seen, parts[0]);
  squares = block_sum(squares, parts[1]);
  if (threadIdx.x > 0) return;
  totals[3 * blockIdx.x] = seen;
  totals[3 * blockIdx.x + 1] = squares;
  totals[3 * blockIdx.x + 2] = 0;
}
extern "C" __global__ void squared_error_dx(Element* difference, long long n) {
  map(difference, n, [](float x) { return 2 * x; }, difference);
}

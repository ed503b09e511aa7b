// Mask of dropout by counter: the same bits as on the CPU, for any rows of any step
// Shapes: mask (N, D) of Element: 0 or 1 / (1 - p). Row i is sample first + i of the step.
// Launch: across: 16 elements of a row, which a thread draws at a time; down: rows (common/elements.cuh)
// Roofline: one write of mask, about 100 integer operations for 16 elements; memory-bound.
// Oracle: ops/dropout.py. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox 4x64-10).
#include "common/elements.cuh"
#include "common/philox.cuh"

static_assert(PIECE == 4, "a piece is drawn from one word");

// p = threshold / 65536 of the elements are dropped.
// counters: step and first in memory, or null; a launch repeated by a graph reads the current values there.
extern "C" __global__ void __launch_bounds__(256)
dropout_mask(Element* mask, int n, int d, long long seed, long long layer, long long step, long long first,
             int threshold, const long long* counters) {
  if (counters) step = counters[0], first = counters[1];
  const int ticks = (d + TICK - 1) / TICK;
  const float scale = 65536.f / (65536 - threshold);
  const bool aligned = rows_aligned<PIECE>(mask, d);
  for_each_across(ticks, [&](int i) {
    const int col = i * TICK;
    for_each_down(n, [&](int row) {
      const Words bits = random_words((unsigned long long)(first + row) * ticks + i, seed, layer, step);
#pragma unroll
      for (int j = 0; j < TICK; j += PIECE) {
        Vec<Element, PIECE> kept;
#pragma unroll
        for (int k = 0; k < PIECE; k++)
          kept.at[k] = Convert<Element>::from(factor_of(bits, j + k, threshold, scale));
        store<PIECE>(mask + (long long)row * d + col + j, kept, d - col - j, aligned);
      }
    });
  });
}

// Mask of dropout by counter: the same bits as on the CPU, for any rows of any step
// Shapes: mask (N, D) of Element: 0 or 1 / (1 - p). Row i is sample first + i of the step.
// Launch: across: 16 elements of a row, which a thread draws at a time; down: rows (common/elements.cuh)
// Roofline: one write of mask, about 100 integer operations for 16 elements; memory-bound.
// Oracle: ops/dropout.py. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox 4x64-10).
#include "common/elements.cuh"

struct Words {
  unsigned long long at[4];
};

// Ten rounds of the cipher: counter (4 words) under a key (2 words).
__device__ __forceinline__ Words philox(Words counter, unsigned long long key0, unsigned long long key1) {
  constexpr unsigned long long M0 = 0xD2E7470EE14C6C93, M1 = 0xCA5A826395121157;
  constexpr unsigned long long STEP0 = 0x9E3779B97F4A7C15, STEP1 = 0xBB67AE8584CAA73B;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned long long (&c)[4] = counter.at;
    counter = {{__umul64hi(M1, c[2]) ^ c[1] ^ key0, M1 * c[2], __umul64hi(M0, c[0]) ^ c[3] ^ key1, M0 * c[0]}};
    key0 += STEP0;
    key1 += STEP1;
  }
  return counter;
}

constexpr int TICK = 16;  // elements of 16 bits each in the four words of one counter
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
      const unsigned long long tick = (first + row) * ticks + i + 1;  // the generator counts before it draws
      const Words bits = philox({{tick, 0, (unsigned long long)step, (unsigned long long)layer}}, seed, 0);
#pragma unroll
      for (int j = 0; j < TICK; j += PIECE) {
        Vec<Element, PIECE> kept;
#pragma unroll
        for (int k = 0; k < PIECE; k++)
          kept.at[k] = Convert<Element>::from(int(bits.at[j / 4] >> 16 * k & 0xFFFF) >= threshold ? scale : 0.f);
        store<PIECE>(mask + (long long)row * d + col + j, kept, d - col - j, aligned);
      }
    });
  });
}

// Mask of dropout by counter: the same bits as on the CPU, for any rows of any step
// Shapes: mask (N, D) of Element: 0 or 1 / (1 - p). Row i is sample first + i of the step.
// Launch: across: pieces of 16 bytes of a row, SHARED for each 16 elements; down: SHARED rows (common/elements.cuh).
//     The threads of a block across are a multiple of SHARED: 4, or 2 in bf16
// Roofline: one write of mask; 16 elements take about 330 instructions, so in bf16 these bound it, not memory.
// Oracle: ops/dropout.py. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox 4x64-10).
// Has not run on a GPU.
//
// 16 elements are drawn at once, but a thread that wrote them all would fill a part of a line at a time. So SHARED
// neighboring threads draw for the same columns, each for another row; then they exchange pieces, and row after row
// each writes the piece beside that of its neighbor.
#include "common/elements.cuh"
#include "common/philox.cuh"

constexpr int SHARED = TICK / PIECE;  // threads that share a draw
static_assert(PIECE % 4 == 0 && TICK % PIECE == 0, "a piece is drawn from whole words");

// The bits of a piece: PIECE / 4 words.
struct Bits {
  unsigned long long at[PIECE / 4];
  __device__ __forceinline__ Bits(const Words& words, int piece) {
#pragma unroll
    for (int i = 0; i < PIECE / 4; i++) at[i] = words.word(piece * (PIECE / 4) + i);
  }
  // Those of the thread whose number differs by `apart`, among the SHARED.
  __device__ __forceinline__ void exchange(int apart) {
    const unsigned lane = (threadIdx.x + threadIdx.y * blockDim.x) % 32;
    const unsigned mask = ((1u << SHARED) - 1) << lane / SHARED * SHARED;
#pragma unroll
    for (int i = 0; i < PIECE / 4; i++) {
      const unsigned low = __shfl_xor_sync(mask, unsigned(at[i]), apart);
      const unsigned high = __shfl_xor_sync(mask, unsigned(at[i] >> 32), apart);
      at[i] = (unsigned long long)high << 32 | low;
    }
  }
};

// p = threshold / 65536 of the elements are dropped. counters: step and first in memory, or null; a launch repeated by
// a graph reads the current values there.
extern "C" __global__ void __launch_bounds__(256)
dropout_mask(Element* mask, int n, int d, long long seed, long long layer, long long step, long long first,
             int threshold, const long long* counters) {
  if (counters) step = counters[0], first = counters[1];
  const int ticks = (d + TICK - 1) / TICK;
  const float scale = 65536.f / (65536 - threshold);
  const bool aligned = rows_aligned<PIECE>(mask, d);
  for_each_across(ticks * SHARED, [&](int i) {
    const int own = i % SHARED, col = i * PIECE;
    for_each_down((n + SHARED - 1) / SHARED, [&](int rows) {
      const unsigned long long drawn = first + (long long)rows * SHARED + own;
      const Words words = random_words(drawn * ticks + i / SHARED, seed, layer, step);
#pragma unroll
      for (int apart = 0; apart < SHARED; apart++) {
        Bits bits(words, own ^ apart);
        if (apart) bits.exchange(apart);
        const int row = rows * SHARED + (own ^ apart);
        Vec<float, PIECE> kept;
#pragma unroll
        for (int k = 0; k < PIECE; k++)
          kept.at[k] = int(bits.at[k / 4] >> 16 * (k % 4) & 0xFFFF) >= threshold ? scale : 0.f;
        if (row < n) store<PIECE>(mask + (long long)row * d + col, Rounded<Element>::from(kept), d - col, aligned);
      }
    });
  });
}

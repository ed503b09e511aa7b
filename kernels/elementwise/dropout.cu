// Dropout by counter: y = x mask, the mask 0 or 1 / (1 - p), or the mask alone: the same bits as on the CPU, for any rows
// of any step
// Shapes: mask, x, y (N, D) of Element; y may be x. Row i is sample first + i of the step.
// Launch: across: pieces of 16 bytes of a row, SHARED for each 16 elements; down: SHARED rows (common/elements.cuh).
//     The threads of a block across are a multiple of SHARED: 4, or 2 in bf16
// Roofline: dropout: a read of x, a write of y, memory-bound: backward draws again what would take as long to read.
//     dropout_mask: one write of mask; in bf16 its instructions, some 300 for 16 elements, take as long.
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

// The bits of a piece, 16 for each element.
struct Bits {
  unsigned at[PIECE / 2];
  __device__ __forceinline__ Bits(const Words& words, int piece) {
#pragma unroll
    for (int i = 0; i < PIECE / 4; i++) {
      const unsigned long long word = words.word(piece * (PIECE / 4) + i);
      at[2 * i] = unsigned(word), at[2 * i + 1] = unsigned(word >> 32);
    }
  }
  // Those of the thread whose number differs by `apart`, among the SHARED.
  __device__ __forceinline__ void exchange(int apart) {
    const unsigned lane = (threadIdx.x + threadIdx.y * blockDim.x) % 32;
    const unsigned mask = ((1u << SHARED) - 1) << lane / SHARED * SHARED;
#pragma unroll
    for (int i = 0; i < PIECE / 2; i++) at[i] = __shfl_xor_sync(mask, at[i], apart);
  }
  // What the elements are multiplied by. The upper half of a word is compared with all bits of the word.
  __device__ __forceinline__ Vec<float, PIECE> factors(unsigned threshold, float scale) const {
    Vec<float, PIECE> kept;
#pragma unroll
    for (int k = 0; k < PIECE; k++)
      kept.at[k] = (k % 2 ? at[k / 2] >= threshold << 16 : (at[k / 2] & 0xFFFF) >= threshold) ? scale : 0.f;
    return kept;
  }
};

// Which masks: struct PLACE of kernels/README.md. p = threshold / 65536 of the elements are dropped. counters: step and
// first in memory, or null; a launch repeated by a graph reads the current values there.
struct Drawn {
  int n, d;
  long long seed, layer, step, first;
  int threshold;
  __device__ __forceinline__ Drawn(int n, int d, long long seed, long long layer, long long step, long long first,
                                   int threshold, const long long* counters)
      : n(n), d(d), seed(seed), layer(layer), step(step), first(first), threshold(threshold) {
    if (counters) this->step = counters[0], this->first = counters[1];
  }
  // write(row, column, read(row, column), factors) for each piece; all pieces of a draw are read before it.
  template <class Read, class Write>
  __device__ __forceinline__ void for_each(Read read, Write write) const {
    const int ticks = (d + TICK - 1) / TICK;
    const float scale = 65536.f / (65536 - threshold);
    for_each_across(ticks * SHARED, [&](int i) {
      const int own = i % SHARED, col = i * PIECE;
      for_each_down((n + SHARED - 1) / SHARED, [&](int rows) {
        const auto row_of = [&](int apart) { return rows * SHARED + (own ^ apart); };
        decltype(read(0, 0)) items[SHARED];
#pragma unroll
        for (int apart = 0; apart < SHARED; apart++)
          if (row_of(apart) < n) items[apart] = read(row_of(apart), col);
        const unsigned long long drawn = first + (long long)rows * SHARED + own;
        const Words words = random_words(drawn * ticks + i / SHARED, seed, layer, step);
#pragma unroll
        for (int apart = 0; apart < SHARED; apart++) {
          Bits bits(words, own ^ apart);
          if (apart) bits.exchange(apart);
          if (row_of(apart) < n) write(row_of(apart), col, items[apart], bits.factors(threshold, scale));
        }
      });
    });
  }
};

extern "C" __global__ void __launch_bounds__(256)
dropout(const Element* x, Element* y, int n, int d, long long seed, long long layer, long long step, long long first,
        int threshold, const long long* counters) {
  const bool aligned = rows_aligned<PIECE>(x, d) && rows_aligned<PIECE>(y, d);
  Drawn(n, d, seed, layer, step, first, threshold, counters).for_each(
      [&](int row, int col) { return load<PIECE>(x + (long long)row * d + col, d - col, aligned); },
      [&](int row, int col, const Vec<Element, PIECE>& piece, const Vec<float, PIECE>& kept) {
        const auto left = apply<Element>([](float a, float b) { return a * b; }, piece, kept);
        store<PIECE>(y + (long long)row * d + col, left, d - col, aligned);
      });
}

extern "C" __global__ void __launch_bounds__(256)
dropout_mask(Element* mask, int n, int d, long long seed, long long layer, long long step, long long first,
             int threshold, const long long* counters) {
  const bool aligned = rows_aligned<PIECE>(mask, d);
  struct Nothing {};
  Drawn(n, d, seed, layer, step, first, threshold, counters).for_each(
      [](int, int) { return Nothing{}; },
      [&](int row, int col, Nothing, const Vec<float, PIECE>& kept) {
        store<PIECE>(mask + (long long)row * d + col, Rounded<Element>::from(kept), d - col, aligned);
      });
}

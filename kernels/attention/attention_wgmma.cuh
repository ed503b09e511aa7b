// The parts of attention on Hopper (sm_90a), forward and backward: rings of tiles of q, k, v and dy, their products by
// wgmma, the columns that a warpgroup's rows see, and rows on their way out.
// Letters and masks: attention.cuh. HEAD_SIZE, the numbers of a head: 32, 64, 80, 96 or 128.
//
// A tile has ROWS tokens of one head. Tensor copies bring it in boxes of 64 numbers (128 bytes, the swizzle) by ROWS
// tokens, box after box. Their map has the dims (number, token, head, sample), with the strides of the array: a head of
// packed rows (N, T, 3 H D) is read where it lies. What a box has beyond the head's numbers or the last token is
// zeros, not what follows in memory, since dims end there: heads of 32, 80 and 96 have half, three quarters and half of
// their last box empty. That memory is not read, and neither wgmma nor the softmax take time for it; it only takes room
// on the chip, as 64 or 128 numbers do. (Narrower last boxes would need a swizzle of 64 or 32 bytes of their own, and
// tiles with two of them.)
#pragma once
#include "attention/attention.cuh"
#include "common/numbers.cuh"
#include "common/ptx/exp2.cuh"
#include "common/ptx/tensor_copy.cuh"
#include "common/ptx/wgmma.cuh"
#include "common/vec.cuh"
#include "products/ring.cuh"

#ifndef HEAD_SIZE
#define HEAD_SIZE 64
#endif
static_assert(HEAD_SIZE % 16 == 0 && HEAD_SIZE >= 16 && HEAD_SIZE <= 128, "whole steps of wgmma, at most two boxes");

constexpr int BOX = ROW_BYTES / sizeof(bf16), BOXES = (HEAD_SIZE + BOX - 1) / BOX;
constexpr int STEP = STEP_BYTES / sizeof(bf16);  // of k, in one wgmma
constexpr int HEAD_GROUPS = HEAD_SIZE / 8;       // of columns of sums
constexpr int GROUP_ROWS = 64;                   // of the products of a warpgroup

// DEPTH tiles of ROWS tokens on their way from the producer to the consumers. `full` changes phase when a tile has
// arrived, `empty` when all have read it. Every thread goes round in step; each has its own, which knows where it is.
// (Unlike those of ring.cuh, tiles have barriers of their own: scores can be computed before the values are there.)
template <int ROWS_, int DEPTH>
struct TileRing : Place<DEPTH> {
  using Place<DEPTH>::stage;
  using Place<DEPTH>::phase;
  using Place<DEPTH>::advance;
  static constexpr int ROWS = ROWS_, BYTES = BOXES * ROWS * ROW_BYTES;
  static_assert(ROWS % 8 == 0 && ROWS <= 256, "whole patterns of the swizzle, in one box");
  unsigned char* tiles;
  Barrier *full, *empty;

  __device__ __forceinline__ TileRing(unsigned char* tiles, Barrier* barriers)
      : tiles(tiles), full(barriers), empty(barriers + DEPTH) {}
  // By one thread, before all others come.
  __device__ __forceinline__ void init(int full_count, int readers) const {
    for (int i = 0; i < DEPTH; i++) {
      barrier_init(&full[i], full_count);
      barrier_init(&empty[i], readers);
    }
  }
  __device__ __forceinline__ unsigned char* tile() const { return tiles + stage * BYTES; }

  // The producer's thread, when the tile is empty: fill it with the tokens from `token` on.
  __device__ __forceinline__ void wait_empty() const { barrier_wait(&empty[stage], phase ^ 1); }
  __device__ __forceinline__ void fetch(const TensorMap& map, int token, int head, int sample) const {
    barrier_expect(&full[stage], BYTES);
#pragma unroll
    for (int i = 0; i < BOXES; i++)
      tensor_copy(tile() + i * ROWS * ROW_BYTES, &map, i * BOX, token, head, sample, &full[stage]);
  }

  // A consumer: wait for the tile; and when its warp has read the one before this place, give that back. All lanes have
  // seen it before: for one that has not, two phases could pass as none.
  __device__ __forceinline__ void wait() const { barrier_wait(&full[stage], phase); }
  __device__ __forceinline__ void release_last() const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(&empty[stage ? stage - 1 : DEPTH - 1], 0);
  }
  __device__ __forceinline__ void pass_over() {
    wait();
    advance();
    release_last();
  }
};

// Issue d (64, 8 GROUPS) = A B^T, a group of products: scalar products of 64 rows of a tile that begin at `a`, and the
// rows of tile `b`. The tiles have A_ROWS and 8 GROUPS rows.
template <int A_ROWS, int GROUPS>
__device__ __forceinline__ void multiply_rows(float (&d)[GROUPS][4], const unsigned char* a, const unsigned char* b) {
  const auto a_factor = wgmma_factor<true>(a, 0), b_factor = wgmma_factor<true>(b, 0);
  constexpr int STEPS_OF_BOX = BOX / STEP, B_ROWS = 8 * GROUPS;
  wgmma_fence(d);
#pragma unroll
  for (int i = 0; i < HEAD_SIZE / STEP; i++) {
    const int box = i / STEPS_OF_BOX, within = i % STEPS_OF_BOX * STEP_BYTES;
    wgmma<true, true, true>(d, wgmma_advance(a_factor, box * A_ROWS * ROW_BYTES + within),
                            wgmma_advance(b_factor, box * B_ROWS * ROW_BYTES + within), i > 0);
  }
  wgmma_commit();
}

// Issue d (64, HEAD_SIZE) += P B, a group: sums of the rows of tile `b`, 16 STEPS of them, weighted by P. P is made
// before the fence, as sums are, though nothing else says so to a compiler.
template <int STEPS>
__device__ __forceinline__ void add_rows(float (&d)[HEAD_GROUPS][4], unsigned (&p)[STEPS][4], const unsigned char* b) {
  const auto factor = wgmma_factor<false>(b, STEPS * STEP * ROW_BYTES);
  keep_sums(p);
  wgmma_fence(d);
#pragma unroll
  for (int i = 0; i < STEPS; i++) wgmma<false>(d, p[i], wgmma_advance(factor, i * STEP * ROW_BYTES), true);
  wgmma_commit();
}

// Sums of wgmma, rounded, as its factor A: a lane keeps what it has.
template <int GROUPS>
__device__ __forceinline__ void to_factor(const float (&d)[GROUPS][4], unsigned (&p)[GROUPS / 2][4]) {
#pragma unroll
  for (int i = 0; i < GROUPS / 2; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) p[i][j] = to_bf16_pair(d[2 * i + j / 2][j % 2 * 2], d[2 * i + j / 2][j % 2 * 2 + 1]);
}

// A number that is the same in all lanes of a warp, so that the compiler knows it: places and descriptors then take
// registers and instructions of the warp, not of its threads.
__device__ __forceinline__ int same_in_warp(int x) { return __shfl_sync(~0u, x, 0); }

// Blocks of columns, from first up to stop.
struct Blocks {
  int first, stop;
  __device__ __forceinline__ Blocks same_in_warp() const { return {::same_in_warp(first), ::same_in_warp(stop)}; }
};
template <int COLUMNS>
__device__ __forceinline__ Blocks blocks_of(const Interval& columns) {
  if (columns.end <= columns.begin) return {0, 0};
  return {columns.begin / COLUMNS, (columns.end + COLUMNS - 1) / COLUMNS};
}

// Blocks that any of `rows` rows from `first` on sees, of `count` rows. Bounds never decrease from row to row.
template <int COLUMNS, class See>
__device__ __forceinline__ Blocks blocks_of_rows(int first, int rows, int count, See see) {
  if (first >= count) return {0, 0};
  return blocks_of<COLUMNS>({see(first).begin, see(min(first + rows, count) - 1).end});
}

// What the 64 rows of a warpgroup see.
struct Sight {
  Interval any, all;  // columns that some row sees, and that all do
  Interval own[2];    // those of this lane's two rows

  template <class See>
  __device__ __forceinline__ Sight(int first, int count, See see) : any{0, 0}, all{0, 0}, own{{0, 0}, {0, 0}} {
    if (first >= count) return;
    const int last = min(first + GROUP_ROWS, count) - 1, row = first + row_in_group();
    const Interval above = see(first), below = see(last);
    any = {above.begin, below.end};
    all = {below.begin, above.end};
#pragma unroll
    for (int half = 0; half < 2; half++) own[half] = see(min(row + 8 * half, last));
  }
  // The first of the two rows of this lane, which are 8 apart.
  static __device__ __forceinline__ int row_in_group() { return threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4; }
  // Blocks for this warpgroup, of those for all: none at their beginning where it sees nothing.
  template <int COLUMNS>
  __device__ __forceinline__ Blocks blocks(const Blocks& of_all) const {
    const Blocks mine = blocks_of<COLUMNS>(any);
    return mine.first < mine.stop ? mine : Blocks{of_all.first, of_all.first};
  }
  // Put `hidden` in place of what a row does not see, of the columns from `column` on.
  template <int GROUPS>
  __device__ __forceinline__ void hide(float (&d)[GROUPS][4], int column, float hidden) const {
    if (column >= all.begin && column + 8 * GROUPS <= all.end) return;
    const int first = column + threadIdx.x % 4 * 2;
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int at = first + 8 * j + i % 2;
        if (at < own[i / 2].begin || at >= own[i / 2].end) d[j][i] = hidden;
      }
  }
};

// A tile of rows of one head of one sample. Blocks of threads take one after the other.
struct HeadTile {
  int tile, head, sample;
  __device__ __forceinline__ HeadTile(int number, int heads, int samples) {
    tile = number / (heads * samples);
    number -= tile * heads * samples;
    sample = number / heads;
    head = number - sample * heads;
  }
};

// Of `count` rows of each head, tiles of ROWS.
template <int ROWS>
__device__ __forceinline__ int tiles_of(int count) {
  return (count + ROWS - 1) / ROWS;
}

// Words of four lanes, N of each, change places: of lane t comes word i to lane i as word t. N 2: among two neighbors.
template <int N>
__device__ __forceinline__ void turn_words(unsigned* words) {
#pragma unroll
  for (int bit = 1; bit < N; bit *= 2) {
    const bool upper = threadIdx.x & bit;
#pragma unroll
    for (int j = 0; j < N; j++) {
      if (j & bit) continue;
      const unsigned got = __shfl_xor_sync(~0u, upper ? words[j] : words[j + bit], bit);
      words[j] = upper ? got : words[j];
      words[j + bit] = upper ? words[j + bit] : got;
    }
  }
}

// Groups `first` to `first` + N of a row of sums to the row at `to`, rounded, in pieces of 4 N bytes.
template <int N>
__device__ __forceinline__ void write_groups(bf16* to, unsigned (&words)[HEAD_GROUPS], int first, bool inside) {
  const int t = threadIdx.x % 4;
  turn_words<N>(words + first);
  Vec<unsigned, N> piece;
#pragma unroll
  for (int i = 0; i < N; i++) piece.at[i] = words[first + i];
  if (inside) *reinterpret_cast<Vec<unsigned, N>*>(to + 8 * (first + t % N) + 2 * N * (t / N)) = piece;
}

// Sums times the `factors` of rows to the array at `head`, rows from `first` on below `count`: lanes trade until each
// has 16 bytes of a row, or 8 where the last two groups are left.
__device__ __forceinline__ void write_rows(bf16* head, long long apart, int first, int count,
                                           const float (&d)[HEAD_GROUPS][4], const float (&factors)[2]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first + Sight::row_in_group() + 8 * half;
    bf16* to = head + row * apart;
    unsigned words[HEAD_GROUPS];
#pragma unroll
    for (int j = 0; j < HEAD_GROUPS; j++)
      words[j] = to_bf16_pair(d[j][2 * half] * factors[half], d[j][2 * half + 1] * factors[half]);
#pragma unroll
    for (int j = 0; j + 4 <= HEAD_GROUPS; j += 4) write_groups<4>(to, words, j, row < count);
    if constexpr (HEAD_GROUPS % 4 == 2) write_groups<2>(to, words, HEAD_GROUPS - 2, row < count);
  }
}

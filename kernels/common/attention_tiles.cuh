// Attention by mma.sync: tiles of tokens in shared memory, and the fragments that are read from them.
// A tile has a token in each row, HEAD numbers of Element (D of them, and zeros). Rows are PITCH bytes apart, an odd
// number of 16 bytes for every HEAD: so eight rows that ldmatrix reads at one place lie in different banks, as after a
// swizzle, but at constant offsets, for heads of any size (of 80 numbers, 10 chunks of bf16, a swizzle by 8 would not
// be one). So do the four rows, two chunks wide, of tf32 fragments that are read number by number.
//
// Sums of one product become a factor of the next one in their registers. In tf32 a lane has the neighbors 2t and 2t +
// 1 of 8 columns, but mma takes k = t and t + 4: so k is counted in another order, 0 2 4 6 1 3 5 7, in both factors.
#pragma once
#include "async_copy.cuh"
#include "attention.cuh"
#include "elements.cuh"
#include "exp2.cuh"
#include "fragments.cuh"
#include "ldmatrix.cuh"
#include "mma.cuh"

#ifndef HEAD
#define HEAD 64  // D, rounded up
#endif

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr int CHUNK = 16 / sizeof(Element);       // numbers in one cp.async, and in one row of ldmatrix
constexpr int STEP = 2 * CHUNK;                   // k of one mma
constexpr int STEPS = HEAD / STEP;                // over the numbers of a head
constexpr int GROUPS = HEAD / 8;                  // of 8 columns, which one mma writes
constexpr int ROW_CHUNKS = HEAD / CHUNK;
constexpr int PITCH = (ROW_CHUNKS + 1) * 16;      // bytes
static_assert(HEAD % 16 == 0, "fragments are read 16 columns at a time");
static_assert(ROW_CHUNKS % 2 == 0, "rows are an odd number of chunks apart");
static_assert(ROW_CHUNKS % (STEP / CHUNK) == 0, "steps of mma cover a head");

// Tokens of one head in memory.
struct Tokens {
  const Element* at;
  int apart;  // elements from token to token
  int count, size;
};

// The sample, head and tile of a block: the tiles of a head follow each other, then the heads of a sample.
struct BlockPlace {
  int sample, head, tile, tiles, rows;
  __device__ __forceinline__ BlockPlace(int count, int rows, int heads) : tiles((count + rows - 1) / rows), rows(rows) {
    const int matrix = blockIdx.x / tiles;
    tile = blockIdx.x - matrix * tiles;
    sample = matrix / heads, head = matrix - sample * heads;
  }
  // The first row of the tile, and that of the tile if they are counted from the end.
  __device__ __forceinline__ int first() const { return tile * rows; }
  __device__ __forceinline__ int last_first() const { return (tiles - 1 - tile) * rows; }
};

// Tiles of tokens, from `first` up to `past`.
struct Tiles {
  int first, past;
};

// Those of `rows` tokens that cover an interval. With `shift`, each begins where (token + shift) is a multiple of
// `rows`.
__device__ __forceinline__ Tiles tiles_of(const Interval& of, int rows, int shift) {
  const int first = (of.begin + shift) / rows * rows - shift;
  return {first, of.end > of.begin ? first + (of.end - first + rows - 1) / rows * rows : first};
}

// The tokens of one head of an array.
__device__ __forceinline__ Tokens tokens_of(const Attention<Element>& attention, const Element* array,
                                            const Apart& apart, int sample, int head, int count) {
  return {head_of(array, apart, sample, head), int(apart.token), count, attention.size};
}

// Copies tiles of ROWS tokens. A few lanes take a row, each every LANES-th chunk of it. In tf32 what has arrived must
// be rounded before the barrier that lets others read it.
template <int ROWS>
class TileLoader {
 public:
  // heads_apart: between heads that `fetch` goes `further` to
  __device__ __forceinline__ explicit TileLoader(const Tokens& tokens, long long heads_apart = 0)
      : tokens_(tokens), aligned_(rows_aligned<CHUNK>(tokens.at, tokens.apart) && heads_apart % CHUNK == 0) {}

  // The tile from token `first` on, of the head `further` elements on. Tokens outside repeat the first or the last one:
  // nobody looks at what comes of them.
  __device__ __forceinline__ void fetch(unsigned char* tile, int first, long long further = 0) const {
    const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
    if (THREADS / LANES > ROWS && row >= ROWS) return;
    unsigned char* const to = tile + row * PITCH + lane * 16;
    if (aligned_ && first >= 0 && first + ROWS <= tokens_.count) {
      const Element* from = tokens_.at + further + (long long)(first + row) * tokens_.apart + lane * CHUNK;
#pragma unroll
      for (int i = 0; i < PASSES; i++, from += (long long)ROWS_AT_ONCE * tokens_.apart)
#pragma unroll
        for (int j = 0; j < CHUNKS; j++)
          copy16_async(to + i * ROWS_AT_ONCE * PITCH + j * LANES * 16, from + j * LANES * CHUNK,
                       inside(j) * int(sizeof(Element)));
      return;
    }
#pragma unroll 1  // it is rare, so small code is all it needs
    for (int i = 0; i < PASSES * CHUNKS; i++) {
      const int pass = i / CHUNKS, j = i % CHUNKS, token = first + row + pass * ROWS_AT_ONCE;
      const Element* from = tokens_.at + further + (long long)min(max(token, 0), tokens_.count - 1) * tokens_.apart;
      unsigned char* const at = to + pass * ROWS_AT_ONCE * PITCH + j * LANES * 16;
      from += inside(j) ? (lane + j * LANES) * CHUNK : 0;
      if (aligned_)
        copy16_async(at, from, inside(j) * int(sizeof(Element)));
      else
        store<CHUNK>(reinterpret_cast<Element*>(at), load<CHUNK>(from, inside(j), false), CHUNK, true);
    }
  }

  // Round what this thread has copied to a tile to tf32, when it has arrived: each number once, where it is read often.
  __device__ __forceinline__ void round(unsigned char* tile) const {
    if constexpr (sizeof(Element) == 4) {
      const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
      if (THREADS / LANES > ROWS && row >= ROWS) return;
#pragma unroll
      for (int i = 0; i < PASSES * CHUNKS; i++) {
        const int pass = i / CHUNKS, j = i % CHUNKS;
        auto* const at = reinterpret_cast<Vec<unsigned, 4>*>(tile + (row + pass * ROWS_AT_ONCE) * PITCH +
                                                             (lane + j * LANES) * 16);
        Vec<unsigned, 4> chunk = *at;
#pragma unroll
        for (int e = 0; e < 4; e++) chunk.at[e] = to_tf32(chunk.at[e]);
        *at = chunk;
      }
    }
  }

 private:
  static constexpr int LANES = ROW_CHUNKS % 8 == 0 ? 8 : ROW_CHUNKS % 4 == 0 ? 4 : 2;
  static constexpr int CHUNKS = ROW_CHUNKS / LANES;  // of a thread in a row
  static constexpr int ROWS_AT_ONCE = THREADS / LANES < ROWS ? THREADS / LANES : ROWS;
  static constexpr int PASSES = ROWS / ROWS_AT_ONCE;
  static_assert(ROWS % ROWS_AT_ONCE == 0, "threads share the copies evenly");

  const Tokens tokens_;
  const bool aligned_;

  // Numbers of the head in chunk j of this thread.
  __device__ __forceinline__ int inside(int j) const {
    return max(0, min(CHUNK, tokens_.size - int(threadIdx.x % LANES + j * LANES) * CHUNK));
  }
};

// Where a lane reads in a tile, in bytes: the row that it passes to ldmatrix (see Reader in gemm_mma.cu).
struct Lanes {
  int of_a, of_rows, of_columns;
  __device__ __forceinline__ Lanes() {
    const int lane = threadIdx.x % 32;
    of_a = lane % 16 * PITCH + lane / 16 * 16;
    of_rows = (lane % 8 + lane / 16 * 8) * PITCH + lane / 8 % 2 * 16;
    of_columns = sizeof(Element) == 2 ? of_a : lane % 4 * 2 * PITCH + lane / 4 * 4;
  }
};

// The fragment of A of 16 rows of a tile from `row` on, at step `step`.
__device__ __forceinline__ void read_a(unsigned (&r)[4], const unsigned char* tile, const Lanes& lanes, int row,
                                       int step) {
  ldmatrix_x4(r, tile + lanes.of_a + row * PITCH + step * 32);
}

// Two fragments of B whose columns are 16 rows of a tile, and whose k are their numbers: r[0], r[1], and r[2], r[3].
__device__ __forceinline__ void read_rows(unsigned (&r)[4], const unsigned char* tile, const Lanes& lanes, int row,
                                          int step) {
  ldmatrix_x4(r, tile + lanes.of_rows + row * PITCH + step * 32);
}

// Two fragments of B whose k are STEP rows of a tile, and whose columns are 16 of their numbers.
__device__ __forceinline__ void read_columns(unsigned (&r)[4], const unsigned char* tile, const Lanes& lanes, int step,
                                             int column) {
  const unsigned char* at = tile + lanes.of_columns + step * STEP * PITCH + column * int(sizeof(Element));
  if (sizeof(Element) == 2) {
    ldmatrix_x4_transposed(r, at);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) r[i] = *reinterpret_cast<const unsigned*>(at + i % 2 * PITCH + i / 2 * 32);
    }
}

// d += a b for two fragments of B.
__device__ __forceinline__ void multiply(float (&d)[4], float (&next)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[4]) {
  const unsigned first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#if ELEMENT_BF16
  mma_m16n8k16_bf16(d, a, first);
  mma_m16n8k16_bf16(next, a, second);
#else
  mma_m16n8k8_tf32(d, a, first);
  mma_m16n8k8_tf32(next, a, second);
#endif
}

// Sums as the factor A of the next product: its fragment at `step`.
template <int COLUMNS>
__device__ __forceinline__ void to_a(unsigned (&a)[4], const float (&sums)[COLUMNS][4], int step) {
#if ELEMENT_BF16
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float (&half)[4] = sums[2 * step + i / 2];
    a[i] = to_bf16_pair(half[i % 2 * 2], half[i % 2 * 2 + 1]);
  }
#else
  const float (&s)[4] = sums[step];
  const float in_order[4] = {s[0], s[2], s[1], s[3]};
#pragma unroll
  for (int i = 0; i < 4; i++) a[i] = to_tf32(float_bits(in_order[i]));
#endif
}

// A factor A that stays the same: SLABS times 16 rows of a tile, from registers (KEPT) or read again each time.
template <int SLABS, bool KEPT>
class Factor {
 public:
  // From `row` of a tile on, which is there.
  __device__ __forceinline__ Factor(const unsigned char* tile, const Lanes& lanes, int row)
      : at_(tile + lanes.of_a + row * PITCH) {
    if constexpr (KEPT) {
#pragma unroll
      for (int i = 0; i < SLABS; i++)
#pragma unroll
        for (int step = 0; step < STEPS; step++) fetch(kept_[i][step], i, step);
    }
  }
  __device__ __forceinline__ void read(unsigned (&r)[4], int slab, int step) const {
    if constexpr (KEPT) {
#pragma unroll
      for (int i = 0; i < 4; i++) r[i] = kept_[slab][step][i];
    } else {
      fetch(r, slab, step);
    }
  }

 private:
  const unsigned char* at_;
  unsigned kept_[KEPT ? SLABS : 1][KEPT ? STEPS : 1][4];

  __device__ __forceinline__ void fetch(unsigned (&r)[4], int slab, int step) const {
    ldmatrix_x4(r, at_ + slab * 16 * PITCH + step * 32);
    }
};

// sums = A B^T: products of all pairs of rows, of `a` and of a tile.
template <int SLABS, bool KEPT, int COLUMNS>
__device__ __forceinline__ void multiply_rows(float (&sums)[SLABS][COLUMNS][4], const Factor<SLABS, KEPT>& a,
                                              const unsigned char* tile, const Lanes& lanes) {
#pragma unroll
  for (int i = 0; i < SLABS; i++)
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) sums[i][j][e] = 0;
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    unsigned of_a[SLABS][4];
#pragma unroll
    for (int i = 0; i < SLABS; i++) a.read(of_a[i], i, step);
#pragma unroll
    for (int j = 0; j < COLUMNS / 2; j++) {
      unsigned b[4];
      read_rows(b, tile, lanes, 16 * j, step);
#pragma unroll
      for (int i = 0; i < SLABS; i++) multiply(sums[i][2 * j], sums[i][2 * j + 1], of_a[i], b);
    }
  }
}

// sums += P B, of weights of the rows of a tile.
template <int SLABS, int COLUMNS>
__device__ __forceinline__ void add_weighted(float (&sums)[SLABS][GROUPS][4], const float (&weights)[SLABS][COLUMNS][4],
                                             const unsigned char* tile, const Lanes& lanes) {
#pragma unroll
  for (int step = 0; step < COLUMNS * 8 / STEP; step++) {
    unsigned a[SLABS][4];
#pragma unroll
    for (int i = 0; i < SLABS; i++) to_a(a[i], weights[i], step);
#pragma unroll
    for (int j = 0; j < GROUPS / 2; j++) {
      unsigned b[4];
      read_columns(b, tile, lanes, step, 16 * j);
#pragma unroll
      for (int i = 0; i < SLABS; i++) multiply(sums[i][2 * j], sums[i][2 * j + 1], a[i], b);
    }
  }
}

// Write SLABS times 16 rows of sums from row `first` on, 16 bytes at a time where HEAD allows.
template <int SLABS>
__device__ __forceinline__ void write_rows(Element* out, int apart, int count, int size, int first,
                                           const float (&sums)[SLABS][GROUPS][4]) {
  constexpr int N = GROUPS % 4 ? 4 : CHUNK;
  const bool aligned = rows_aligned<N>(out, apart);
#pragma unroll
  for (int group = 0; group < GROUPS; group += N / 2)
#pragma unroll
    for (int i = 0; i < 2 * SLABS; i++) {
      const Piece<N> x = trade_pairs<N>(sums, i, group);
      Vec<Element, N> piece;
#pragma unroll
      for (int j = 0; j < N; j++) piece.at[j] = Convert<Element>::from(x.at[j]);
      const int row = first + x.row;
      const bool inside = unsigned(row) < unsigned(count);
      store<N>(out + (long long)row * apart + x.col, piece, inside ? size - x.col : 0, aligned);
    }
}

// Attention by mma.sync: products of tiles (attention_tiles.cuh) in fragments, and their way to memory.
// Sums of one product become a factor of the next one in their registers. In tf32 a lane has the neighbors 2t and 2t +
// 1 of 8 columns, but mma takes k = t and t + 4: so k is counted in another order, 0 2 4 6 1 3 5 7, in both factors.
#pragma once
#include "attention/attention_tiles.cuh"
#include "common/ptx/exp2.cuh"
#include "common/ptx/ldmatrix.cuh"
#include "common/ptx/mma.cuh"
#include "products/fragments.cuh"

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

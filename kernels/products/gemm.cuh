// The arguments of every matrix product, and the part of it that a block computes.
//     out = epilogue(alpha A B + beta C)
// A is (M, K), or (K, M) where TRANSPOSE_A is 1; B is (K, N), or (N, K) where TRANSPOSE_B is 1; all row-major.
// Rows are `ld` elements apart, matrices of a batch `batch` elements (0: the same matrix for the whole batch).
//
// Where M and N are small and K is large, too few blocks would run: then K is cut into `splits` parts of k_split, each
// block sums one part into `partials`, and gemm_sum adds the parts, in order, and does the epilogue. No atomics: the
// same bits every time.
#pragma once

#ifndef TRANSPOSE_A
#define TRANSPOSE_A 0
#endif
#ifndef TRANSPOSE_B
#define TRANSPOSE_B 0
#endif

template <class Input, class Output>
struct Gemm {
  const Input* a;
  const Input* b;
  const Output* c;     // (batch, M, N), read where beta is not 0; may be out itself
  const float* bias;   // (N,), the same for the whole batch; or null
  Output* out;         // (batch, M, N)
  Output* pre;         // laid out like out; see epilogue.cuh: null or written by an activation, read by its gradient
  float* column_sums;  // (batch, ceil(M / slab), N) or null: sums of the results over the rows of each slab
  float* partials;     // (splits, batch, M, N) where splits > 1
  long long a_batch, b_batch, c_batch, out_batch;
  int a_ld, b_ld, c_ld, out_ld;
  int m, n, k;
  int batch;
  int splits, k_split;  // k_split: a multiple of the kernel's TILE_K; splits = max(1, ceil(K / k_split))
  float alpha, beta;
};
#if __SIZEOF_POINTER__ == 8
static_assert(sizeof(Gemm<float, float>) == 144, "the layout that launches are planned for");
#endif

struct TileOrigin {
  int row, col;
};

// Blocks that run at the same time share rows of A and columns of B through the L2 cache, so they should form a
// square and not a line: tiles of rows x cols are numbered down bands of BAND tile rows.
__device__ __forceinline__ TileOrigin tile_origin(int number, int rows, int cols, int m, int n) {
  constexpr int BAND = 8;
  const int tiles_m = (m + rows - 1) / rows;
  const int tiles_n = (n + cols - 1) / cols;
  const int first = number / (BAND * tiles_n) * BAND;
  const int height = min(BAND, tiles_m - first);
  const int within = number % (BAND * tiles_n);
  return {(first + within % height) * rows, within / height * cols};
}

template <int ROWS, int COLS>  // not TILE_M: that may be a macro
__device__ __forceinline__ TileOrigin tile_origin(int number, int m, int n) {
  return tile_origin(number, ROWS, COLS, m, n);
}

__device__ __forceinline__ int num_tiles(int rows, int cols, int m, int n) {
  return ((m + rows - 1) / rows) * ((n + cols - 1) / cols);
}

// The part of K that belongs to part number `split`: [first, stop).
struct Depth {
  int first, stop;
};

template <class Input, class Output>
__device__ __forceinline__ Depth depth_of(const Gemm<Input, Output>& gemm, int split) {
  if (gemm.splits <= 1) return {0, gemm.k};
  return {split * gemm.k_split, min(gemm.k, (split + 1) * gemm.k_split)};
}

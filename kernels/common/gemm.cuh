// What every matrix product is given, and which part of it a block computes.
//     out = epilogue(alpha A B + beta C)
// A is (M, K), or (K, M) where TRANSPOSE_A is 1; B is (K, N), or (N, K) where TRANSPOSE_B is 1; all row-major.
// Rows lie `ld` elements apart, matrices of a batch `batch` elements.
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
  const Output* c;    // (M, N), read where beta is not 0; may be out itself
  const float* bias;  // (N,), the same for the whole batch
  Output* out;        // (M, N)
  Output* pre;        // (M, N) or null: what the activation was applied to, laid out like out
  long long a_batch, b_batch, c_batch, out_batch;
  int a_ld, b_ld, c_ld, out_ld;
  int m, n, k;
  float alpha, beta;
};

struct TileOrigin {
  int row, col;
};

// Blocks that run at the same time share rows of A and columns of B through the L2 cache, so they should form a
// square and not a line: tiles are numbered down bands of BAND tile rows.
template <int TILE_M, int TILE_N>
__device__ __forceinline__ TileOrigin tile_origin(int number, int m, int n) {
  constexpr int BAND = 8;
  const int tiles_m = (m + TILE_M - 1) / TILE_M;
  const int tiles_n = (n + TILE_N - 1) / TILE_N;
  const int first = number / (BAND * tiles_n) * BAND;
  const int height = min(BAND, tiles_m - first);
  const int within = number % (BAND * tiles_n);
  return {(first + within % height) * TILE_M, within / height * TILE_N};
}

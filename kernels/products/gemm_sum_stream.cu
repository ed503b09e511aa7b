// The second half of a product by gemm_wgmma whose K was cut: out = epilogue(alpha (partial 0 + partial 1 + ...) + beta C)
// Shapes: partials: see products/stream_k.cuh; the rest as in products/gemm.cuh. OUTPUT_BF16: C, out and pre are bf16.
// Launch: the record of the product and its StreamK; 256 per block; a warp for each 16 x 32 sums of the tiles whose K was
//     cut, grid ceil(shared tile_m / 16 tile_n / 32 / 8); slabs of 16
// Roofline: 4 bytes read for each partial sum, s MN written (and read, where beta is not 0); memory-bound, or L2.
// Oracle: ops/matmul.py. Source: see stream_k.cuh. It has not run on a GPU.
//
// A lane reads four sums of four groups of columns at once, and as many of the next plane, and adds them in the order of
// K: the same bits every time.
#include "products/epilogue.cuh"
#include "products/gemm.cuh"
#include "products/stream_k.cuh"
#include "products/types.cuh"

constexpr int GROUPS = 4, COLUMNS = GROUPS * GROUP_COLUMNS;  // of a warp

// A piece of two neighbors for each of a lane's rows: lanes form 8 x 4 over 8 rows of 8 columns.
__device__ __forceinline__ void finish_strip(const Gemm<Output, Output>& gemm, int index, int row, int col,
                                             const float (&sums)[GROUPS][4]) {
  const Epilogue<2, Output, Output> finish(gemm, index);
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int g = 0; g < GROUPS; g++) {
    const int at = col + g * GROUP_COLUMNS + lane % 4 * 2;
    ColumnTotals<2> totals;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float x[2] = {sums[g][2 * half], sums[g][2 * half + 1]};
      const int at_row = row + 8 * half + lane / 4;
      finish(at_row, at, x);
      totals.add(x, half == 0, at_row < gemm.m);
    }
    if (gemm.column_sums) totals.write<STRIP_ROWS>(gemm, index, row, at);
  }
}

extern "C" __global__ void __launch_bounds__(256)
gemm_sum_stream(const Gemm<Output, Output> gemm, const StreamK stream) {
  const int strips = stream.tile_m / STRIP_ROWS, across = stream.tile_n / COLUMNS;
  const int number = blockIdx.x * 8 + threadIdx.x / 32;
  const int slot = number / (strips * across), strip = number / across % strips, first = number % across * GROUPS;
  if (slot >= stream.shared) return;
  const int tile = stream.whole + slot, tiles = num_tiles(stream.tile_m, stream.tile_n, gemm.m, gemm.n);
  const TileOrigin origin = tile_origin(tile % tiles, stream.tile_m, stream.tile_n, gemm.m, gemm.n);
  const int row = origin.row + strip * STRIP_ROWS, col = origin.col + first * GROUP_COLUMNS;
  if (row >= gemm.m || col >= gemm.n) return;

  const int planes = stream.planes(slot);
  const long long apart = (long long)stream.shared * stream.tile_m * stream.tile_n;
  const float* from = gemm.partials + partial_at(stream, 0, slot, strip, first);
  float sums[GROUPS][4] = {};
#pragma unroll 2
  for (int plane = 0; plane < planes; plane++, from += apart) {
    Vec<float, 4> part[GROUPS];
#pragma unroll
    for (int g = 0; g < GROUPS; g++) part[g] = *reinterpret_cast<const Vec<float, 4>*>(from + g * FRAGMENT);
#pragma unroll
    for (int i = 0; i < 4 * GROUPS; i++) sums[i / 4][i % 4] += part[i / 4].at[i % 4];
  }
  finish_strip(gemm, tile / tiles, row, col, sums);
}

// Matrix product on tensor cores, sm_80 and later: out = epilogue(alpha A B + beta C), summed in fp32
// Arch: sm_80
// Shapes: A (M, K), B (K, N), C, out, pre (M, N), row-major with leading dims; bias (N,). See products/gemm.cuh.
// Types: INPUT_BF16, OUTPUT_BF16 of products/types.cuh
// Launch: grid (tiles of out, splits, batch), THREADS per block, SHARED_BYTES dynamic shared memory; slabs of WARP_M;
//     one block an SM: for two, registers would spill
// Roofline: 2MNK operations for s (MK + KN + 2MN) bytes, s = 4 or 2; compute-bound from about 1024^3 up. On Hopper this
//     instruction reaches about 40 % of the peak: gemm_wgmma is for that. Oracle: ops/matmul.py. Source: PTX ISA, mma,
//     ldmatrix, cp.async; Kerr et al. 2017, "CUTLASS".
#ifndef TILE_M
#define TILE_M 128
#define TILE_N 128
#define WARP_M 64
#define WARP_N 32
#endif
#ifndef STAGES
#define STAGES 3
#endif
#define THREADS (TILE_M / WARP_M * (TILE_N / WARP_N) * 32)
#define SHARED_BYTES (STAGES * (TILE_M + TILE_N) * 128)

#include "products/mma_tiles.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 1) gemm_mma(const Gemm<Input, Output> gemm) {
  DYNAMIC_SHARED(stages);
  const Input* const a = gemm.a + blockIdx.z * gemm.a_batch;
  const Input* const b = gemm.b + blockIdx.z * gemm.b_batch;
  const TileOrigin origin = tile_origin<TILE_M, TILE_N>(blockIdx.x, gemm.m, gemm.n);
  const int warp = threadIdx.x / 32;
  const int row = warp / (TILE_N / WARP_N) * WARP_M, col = warp % (TILE_N / WARP_N) * WARP_N;
  const Depth depth = depth_of(gemm, blockIdx.y);
  const int num_tiles = (depth.stop - depth.first + TILE_K - 1) / TILE_K;
  const bool aligned = rows_aligned<CHUNK>(a, gemm.a_ld) && rows_aligned<CHUNK>(b, gemm.b_ld);
  const int num_plain = aligned ? (depth.stop - depth.first) / TILE_K : 0;  // tiles without a look at the edge of k
  LoaderA a_loader(a, gemm.a_ld, origin.row, depth.first, gemm.m);
  LoaderB b_loader(b, gemm.b_ld, origin.col, depth.first, gemm.n);
  const ReaderA a_reader(row);
  const ReaderB b_reader(col);
  Sums sums = {};

  multiply_tiles(sums, stages, num_tiles, a_reader, b_reader, [&](unsigned char* stage, int tile) {
    if (tile < num_plain) {
      a_loader.fetch(stage, tile * TILE_K);
      b_loader.fetch(stage + A_BYTES, tile * TILE_K);
    } else {
      const int k0 = depth.first + tile * TILE_K;
      LoaderA::fetch_any(stage, a, gemm.a_ld, origin.row, k0, gemm.m, depth.stop);
      LoaderB::fetch_any(stage + A_BYTES, b, gemm.b_ld, origin.col, k0, gemm.n, depth.stop);
    }
  });
  finish_fragments(gemm, blockIdx.z, blockIdx.y, origin.row + row, origin.col + col, sums);
}

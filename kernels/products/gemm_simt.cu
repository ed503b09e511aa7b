// Matrix product in fp32 on ordinary cores, any arch: out = epilogue(alpha A B + beta C)
// Shapes: A (M, K), B (K, N), C, out, pre (M, N), row-major with leading dims; bias (N,). See products/gemm.cuh.
// Launch: grid (tiles of out, splits, batch), THREADS per block; one tile of TILE_M x TILE_N per block; slabs of WARP_M
// Roofline: 2MNK operations for 4 (MK + KN + 2MN) bytes; compute-bound from about 128^3 up, on shared-memory bandwidth
//     and issue slots. Oracle: ops/matmul.py. Source: Boehm 2022, "How to Optimize a CUDA Matmul Kernel";
//     Kerr et al. 2017, "CUTLASS". The steps that lead here: ladder/gemm_01_naive.cu and after.
#ifndef TILE_M
#define TILE_M 128
#define TILE_N 128
#define TILE_K 8
#define WARP_M 64
#define WARP_N 32
#endif
#ifndef MIN_BLOCKS
#define MIN_BLOCKS 2
#endif
#define THREADS (TILE_M / WARP_M * (TILE_N / WARP_N) * 32)

#include "products/simt_tiles.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) gemm_simt(const Gemm<float, float> gemm) {
  __shared__ __align__(16) LoaderA::Tile a_tiles[2];
  __shared__ __align__(16) LoaderB::Tile b_tiles[2];
  const TileOrigin origin = tile_origin<TILE_M, TILE_N>(blockIdx.x, gemm.m, gemm.n);
  const LanePlace at;
  const Depth depth = depth_of(gemm, blockIdx.y);
  LoaderA a_loader(gemm.a + blockIdx.z * gemm.a_batch, gemm.a_ld, origin.row, gemm.m, depth.stop);
  LoaderB b_loader(gemm.b + blockIdx.z * gemm.b_batch, gemm.b_ld, origin.col, gemm.n, depth.stop);
  Sums sums = {};

  multiply_tiles(sums, a_loader, b_loader, a_tiles, b_tiles, depth, at.row, at.col);
  finish_pieces(gemm, blockIdx.z, blockIdx.y, origin.row + at.warp_row, origin.row + at.row, origin.col + at.col, sums);
}

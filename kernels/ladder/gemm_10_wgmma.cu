// Ladder 10, wgmma: four warps multiply tiles of shared memory together, and the copy engine brings the tiles
// Arch: sm_90a
// Shapes: a (M, K), b (K, N) bf16, out (M, N) fp32, row-major; rows of a and b at multiples of 16 bytes
// Launch: a_map: boxes 64 x 64, b_map: boxes 64 x 64 (kernels/README.md); grid (ceil N / 128, ceil M / 64), block 128,
//     SHARED_BYTES of dynamic shared memory
// Roofline: as rung 9, at Hopper's full rate. Oracle: ops/matmul.py. Source: PTX ISA, wgmma, cp.async.bulk.tensor.
//
// No fragments: wgmma reads both factors from shared memory, in the swizzled layout that the copy engine writes, and a
// descriptor of 64 bits gives the place. One thread requests the boxes; outside of the matrix they hold zeros. An
// mbarrier counts their bytes.
#include "common/ptx/tensor_copy.cuh"
#include "common/ptx/wgmma.cuh"
#include "products/fragments.cuh"

#define TILE_M 64
#define TILE_N 128
#define TILE_K 64
#define A_BYTES (TILE_M * 128)
#define B_BYTES (TILE_N * 128)
#define SHARED_BYTES (A_BYTES + B_BYTES + 8 + 1024)

extern "C" __global__ void __launch_bounds__(128)
gemm_10_wgmma(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map, float* out, int m,
              int n, int k) {
  DYNAMIC_SHARED(shared);
  unsigned char *a_tile = align_to_swizzle(shared), *b_tile = a_tile + A_BYTES;
  Barrier* full = reinterpret_cast<Barrier*>(b_tile + B_BYTES);
  const int row = blockIdx.y * TILE_M, col = blockIdx.x * TILE_N;
  if (threadIdx.x == 0) {
    barrier_init(full, 1);
    barrier_init_fence();
  }
  __syncthreads();
  const auto a = wgmma_factor<true>(a_tile, 0), b = wgmma_factor<false>(b_tile, B_BYTES / 2);
  float sums[TILE_N / 8][4] = {};
  unsigned phase = 0;
  for (int k0 = 0; k0 < k; k0 += TILE_K, phase ^= 1) {
    if (threadIdx.x == 0) {
      barrier_expect(full, A_BYTES + B_BYTES);
      tensor_copy(a_tile, &a_map, k0, row, 0, full);
      tensor_copy(b_tile, &b_map, col, k0, 0, full);
      tensor_copy(b_tile + B_BYTES / 2, &b_map, col + 64, k0, 0, full);
    }
    barrier_wait(full, phase);
    wgmma_fence(sums);
#pragma unroll
    for (int i = 0; i < TILE_K / 16; i++)
      wgmma<true, true, false>(sums, wgmma_advance(a, i * 32), wgmma_advance(b, i * 16 * 128), true);
    wgmma_commit();
    wgmma_wait(sums);
    __syncthreads();  // all threads are done with the tile
  }
  write_fragments(out, m, n, row + threadIdx.x / 32 * 16, col, sums);
}

// Ladder 12, a wider tile: as rung 11, but two warpgroups share a tile of 128 x 256 and multiply 64 x 256 each
// Arch: sm_90a
// Shapes: a (M, K), b (K, N) bf16, out (M, N) fp32, row-major; rows of a and b at multiples of 16 bytes
// Launch: a_map: boxes 64 x 128, b_map: boxes 64 x 64 (kernels/README.md); grid (ceil N / 256, ceil M / 128), block
//     256, SHARED_BYTES of dynamic shared memory
// Roofline: as rung 11, with half of its traffic from the L2 cache. Oracle: ops/matmul.py.
// Source: Pranjal Shankhdhar 2024, "Outperforming cuBLAS on H100".
//
// A step of 64 x 128 fetches 24 KB for 524288 multiply-adds, one of 128 x 256 twice as much for four times the work:
// what the L2 cache can deliver to all multiprocessors at once was the limit. wgmma m64n256k16 also reads its part of
// b once for all 256 columns. Sums take 128 registers of a thread, so one block fills a multiprocessor.
#include "common/ptx/tensor_copy.cuh"
#include "common/ptx/wgmma.cuh"
#include "products/fragments.cuh"

#define TILE_M 128
#define TILE_N 256
#define TILE_K 64
#define STAGES 4
#define A_BYTES (TILE_M * 128)
#define B_BYTES (TILE_N * 128)
#define BOX_BYTES (64 * 128)
#define SHARED_BYTES (STAGES * (A_BYTES + B_BYTES + 8) + 1024)

extern "C" __global__ void __launch_bounds__(256)
gemm_12_wide(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map, float* out, int m, int n,
             int k) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  Barrier* full = reinterpret_cast<Barrier*>(tiles + STAGES * (A_BYTES + B_BYTES));
  const int row = blockIdx.y * TILE_M, col = blockIdx.x * TILE_N, num_tiles = (k + TILE_K - 1) / TILE_K;
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) barrier_init(&full[i], 1);
    barrier_init_fence();
  }
  __syncthreads();

  auto fetch = [&](int tile) {
    if (threadIdx.x > 0 || tile >= num_tiles) return;
    unsigned char *a_tile = tiles + tile % STAGES * (A_BYTES + B_BYTES), *b_tile = a_tile + A_BYTES;
    Barrier* barrier = &full[tile % STAGES];
    barrier_expect(barrier, A_BYTES + B_BYTES);
    tensor_copy(a_tile, &a_map, tile * TILE_K, row, 0, barrier);
    for (int i = 0; i < TILE_N / 64; i++)
      tensor_copy(b_tile + i * BOX_BYTES, &b_map, col + 64 * i, tile * TILE_K, 0, barrier);
  };

  float sums[TILE_N / 8][4] = {};
  for (int tile = 0; tile < STAGES; tile++) fetch(tile);
  for (int tile = 0; tile < num_tiles; tile++) {
    unsigned char* a_tile = tiles + tile % STAGES * (A_BYTES + B_BYTES);
    const auto a = wgmma_factor<true>(a_tile + group * 64 * 128, 0);
    const auto b = wgmma_factor<false>(a_tile + A_BYTES, BOX_BYTES);
    barrier_wait(&full[tile % STAGES], tile / STAGES % 2);
    wgmma_fence(sums);
#pragma unroll
    for (int i = 0; i < TILE_K / 16; i++)
      wgmma<true, true, false>(sums, wgmma_advance(a, i * 32), wgmma_advance(b, i * 16 * 128), true);
    wgmma_commit();
    wgmma_wait(sums);
    __syncthreads();       // all threads are done with the tile,
    fetch(tile + STAGES);  // so its stage is free
  }
  write_fragments(out, m, n, row + group * 64 + warp * 16, col, sums);
}

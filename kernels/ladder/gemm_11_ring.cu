// Ladder 11, a ring of tiles: as rung 10, but the next three tiles are on their way while this one is multiplied
// Arch: sm_90a
// Shapes: a (M, K), b (K, N) bf16, out (M, N) fp32, row-major; rows of a and b at multiples of 16 bytes
// Launch: a_map: boxes 64 x 64, b_map: boxes 64 x 64 (kernels/README.md); grid (ceil N / 128, ceil M / 64), block 128,
//     SHARED_BYTES of dynamic shared memory
// Roofline: as rung 10, with the latency of memory hidden. Oracle: ops/matmul.py. Source: PTX ISA, mbarrier.
//
// A stage's barrier changes phase once per lap of the ring, so its phase is the lap of the bytes.
#include "common/ptx/tensor_copy.cuh"
#include "common/ptx/wgmma.cuh"
#include "products/fragments.cuh"

#define TILE_M 64
#define TILE_N 128
#define TILE_K 64
#define STAGES 4
#define A_BYTES (TILE_M * 128)
#define B_BYTES (TILE_N * 128)
#define SHARED_BYTES (STAGES * (A_BYTES + B_BYTES + 8) + 1024)

extern "C" __global__ void __launch_bounds__(128)
gemm_11_ring(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map, float* out, int m, int n,
             int k) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  Barrier* full = reinterpret_cast<Barrier*>(tiles + STAGES * (A_BYTES + B_BYTES));
  const int row = blockIdx.y * TILE_M, col = blockIdx.x * TILE_N, num_tiles = (k + TILE_K - 1) / TILE_K;
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
    tensor_copy(b_tile, &b_map, col, tile * TILE_K, 0, barrier);
    tensor_copy(b_tile + B_BYTES / 2, &b_map, col + 64, tile * TILE_K, 0, barrier);
  };

  float sums[TILE_N / 8][4] = {};
  for (int tile = 0; tile < STAGES; tile++) fetch(tile);
  for (int tile = 0; tile < num_tiles; tile++) {
    unsigned char* a_tile = tiles + tile % STAGES * (A_BYTES + B_BYTES);
    const auto a = wgmma_factor<true>(a_tile, 0), b = wgmma_factor<false>(a_tile + A_BYTES, B_BYTES / 2);
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
  write_fragments(out, m, n, row + threadIdx.x / 32 * 16, col, sums);
}

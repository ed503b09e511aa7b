// Ladder 16, multicast: as rung 15, but two blocks, one below the other, fetch half of their columns of b each
// Arch: sm_90a
// Shapes: a (M, K), b (K, N) bf16, out (M, N) fp32, row-major; rows of a and b at multiples of 16 bytes
// Launch: a_map: boxes 64 x 128, b_map: boxes 64 x 64 (kernels/README.md); grid of as many blocks as run at once, two a
//     cluster; block 384, SHARED_BYTES of dynamic shared memory
// Roofline: as rung 15, with a third less traffic from the L2 cache. Oracle: ops/matmul.py. Source: PTX ISA, clusters.
//
// A cluster of two blocks runs at the same time on neighboring multiprocessors. The copy engine writes a box to the
// same place in both and counts its bytes at the barrier of each. So a stage is free when the consumers of both blocks
// have read it: each warp arrives at the `empty` barriers of both. And no block may end while the other still arrives
// there.
#include "common/ptx/cluster.cuh"
#include "common/ptx/tensor_copy.cuh"
#include "common/ptx/wgmma.cuh"
#include "products/fragments.cuh"
#include "products/gemm.cuh"

#define TILE_M 128
#define TILE_N 256
#define TILE_K 64
#define STAGES 4
#define CLUSTER 2
#define A_BYTES (TILE_M * 128)
#define B_BYTES (TILE_N * 128)
#define BOX_BYTES (64 * 128)
#define SHARED_BYTES (STAGES * (A_BYTES + B_BYTES + 16) + 1024)

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(384, 1)
gemm_16_multicast(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map, float* out, int m,
                  int n, int k) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  Barrier *full = reinterpret_cast<Barrier*>(tiles + STAGES * (A_BYTES + B_BYTES)), *empty = full + STAGES;
  const int num_pairs = (m + CLUSTER * TILE_M - 1) / (CLUSTER * TILE_M) * ((n + TILE_N - 1) / TILE_N);
  const int rank = rank_in_cluster(), steps = (k + TILE_K - 1) / TILE_K;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      barrier_init(&full[i], 1);
      barrier_init(&empty[i], 8 * CLUSTER);  // the warps of two consumers in each block
    }
    barrier_init_fence();
  }
  cluster_barrier();

  int place = 0;  // in the ring: steps of all tiles so far
  if (threadIdx.x < 128) {
    registers_give<40>();
    for (int pair = blockIdx.x / CLUSTER; threadIdx.x == 0 && pair < num_pairs; pair += gridDim.x / CLUSTER) {
      const TileOrigin origin = tile_origin<CLUSTER * TILE_M, TILE_N>(pair, m, n);
      for (int step = 0; step < steps; step++, place++) {
        unsigned char *a_tile = tiles + place % STAGES * (A_BYTES + B_BYTES), *b_tile = a_tile + A_BYTES;
        Barrier* barrier = &full[place % STAGES];
        barrier_wait(&empty[place % STAGES], place / STAGES % 2 ^ 1);
        barrier_expect(barrier, A_BYTES + B_BYTES);
        tensor_copy(a_tile, &a_map, step * TILE_K, origin.row + rank * TILE_M, 0, barrier);
        for (int i = rank; i < TILE_N / 64; i += CLUSTER)
          tensor_copy_multicast(b_tile + i * BOX_BYTES, &b_map, origin.col + 64 * i, step * TILE_K, 0, barrier, 3);
      }
    }
  } else {
    registers_take<232>();
    const int consumer = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4;
    auto release = [&](int place) {
      if (threadIdx.x % 32 < CLUSTER) barrier_arrive(&empty[place % STAGES], threadIdx.x % 32);
    };
    for (int pair = blockIdx.x / CLUSTER; pair < num_pairs; pair += gridDim.x / CLUSTER) {
      const TileOrigin origin = tile_origin<CLUSTER * TILE_M, TILE_N>(pair, m, n);
      const int row = origin.row + rank * TILE_M + consumer * 64 + warp * 16;
      float sums[TILE_N / 8][4] = {};
      for (int step = 0; step < steps; step++, place++) {
        unsigned char* a_tile = tiles + place % STAGES * (A_BYTES + B_BYTES);
        const auto a = wgmma_factor<true>(a_tile + consumer * 64 * 128, 0);
        const auto b = wgmma_factor<false>(a_tile + A_BYTES, BOX_BYTES);
        barrier_wait(&full[place % STAGES], place / STAGES % 2);
        wgmma_fence(sums);
#pragma unroll
        for (int i = 0; i < TILE_K / 16; i++)
          wgmma<true, true, false>(sums, wgmma_advance(a, i * 32), wgmma_advance(b, i * 16 * 128), true);
        wgmma_commit();
        wgmma_wait<1>();                    // these products may still run: those of the step before have ended,
        if (step > 0) release(place - 1);  // so its stage is free
      }
      wgmma_wait(sums);
      if (steps > 0) release(place - 1);
      write_fragments(out, m, n, row, origin.col, sums);
    }
  }
  cluster_barrier();
}

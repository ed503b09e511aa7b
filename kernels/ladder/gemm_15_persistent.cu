// Ladder 15, persistent blocks: as rung 14, but a block stays, and takes tile after tile
// Arch: sm_90a
// Shapes: a (M, K), b (K, N) bf16, out (M, N) fp32, row-major; rows of a and b at multiples of 16 bytes
// Launch: a_map: boxes 64 x 128, b_map: boxes 64 x 64 (kernels/README.md); grid of as many blocks as there are
//     multiprocessors, or tiles if these are fewer; block 384, SHARED_BYTES of dynamic shared memory
// Roofline: as rung 14, with the tensor cores busy from tile to tile. Oracle: ops/matmul.py.
// Source: Gupta et al. 2012, "A study of persistent threads style GPU programming for GPGPU workloads".
//
// A block that ends leaves its multiprocessor idle until the next one has set up its barriers and its first tiles have
// come. One that stays has its producer in the next tile while the consumers write this one. Who takes which tile is
// known from the start (its number, then every gridDim.x-th), and numbers go down bands of eight tiles, so that blocks
// that run at the same time share rows of a and columns of b in the L2 cache.
#include "common/ptx/tensor_copy.cuh"
#include "common/ptx/wgmma.cuh"
#include "products/fragments.cuh"
#include "products/gemm.cuh"

#define TILE_M 128
#define TILE_N 256
#define TILE_K 64
#define STAGES 4
#define A_BYTES (TILE_M * 128)
#define B_BYTES (TILE_N * 128)
#define BOX_BYTES (64 * 128)
#define SHARED_BYTES (STAGES * (A_BYTES + B_BYTES + 16) + 1024)

extern "C" __global__ void __launch_bounds__(384, 1)
gemm_15_persistent(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map, float* out, int m,
                   int n, int k) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  Barrier *full = reinterpret_cast<Barrier*>(tiles + STAGES * (A_BYTES + B_BYTES)), *empty = full + STAGES;
  const int num_tiles = (m + TILE_M - 1) / TILE_M * ((n + TILE_N - 1) / TILE_N), steps = (k + TILE_K - 1) / TILE_K;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      barrier_init(&full[i], 1);
      barrier_init(&empty[i], 8);  // the warps of two consumers
    }
    barrier_init_fence();
  }
  __syncthreads();

  int place = 0;  // in the ring: steps of all tiles so far
  if (threadIdx.x < 128) {
    registers_give<40>();
    if (threadIdx.x > 0) return;
    for (int number = blockIdx.x; number < num_tiles; number += gridDim.x) {
      const TileOrigin origin = tile_origin<TILE_M, TILE_N>(number, m, n);
      for (int step = 0; step < steps; step++, place++) {
        unsigned char *a_tile = tiles + place % STAGES * (A_BYTES + B_BYTES), *b_tile = a_tile + A_BYTES;
        Barrier* barrier = &full[place % STAGES];
        barrier_wait(&empty[place % STAGES], place / STAGES % 2 ^ 1);
        barrier_expect(barrier, A_BYTES + B_BYTES);
        tensor_copy(a_tile, &a_map, step * TILE_K, origin.row, 0, barrier);
        for (int i = 0; i < TILE_N / 64; i++)
          tensor_copy(b_tile + i * BOX_BYTES, &b_map, origin.col + 64 * i, step * TILE_K, 0, barrier);
      }
    }
  } else {
    registers_take<232>();
    const int consumer = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4;
    auto release = [&](int place) {
      if (threadIdx.x % 32 == 0) barrier_arrive(&empty[place % STAGES], 0);
    };
    for (int number = blockIdx.x; number < num_tiles; number += gridDim.x) {
      const TileOrigin origin = tile_origin<TILE_M, TILE_N>(number, m, n);
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
      write_fragments(out, m, n, origin.row + consumer * 64 + warp * 16, origin.col, sums);
    }
  }
}

// Ladder 14, overlap: as rung 13, but the products of a step begin before those of the step before it have ended
// Arch: sm_90a
// Shapes: a (M, K), b (K, N) bf16, out (M, N) fp32, row-major; rows of a and b at multiples of 16 bytes
// Launch: a_map: boxes 64 x 128, b_map: boxes 64 x 64 (kernels/README.md); grid (ceil N / 256, ceil M / 128), block
//     384, SHARED_BYTES of dynamic shared memory
// Roofline: as rung 13, with no gap between steps. Oracle: ops/matmul.py. Source: PTX ISA, wgmma.wait_group.
//
// wgmma_wait(sums) waits until the tensor cores are idle, and only then are the next products requested. With one
// group allowed to be under way, they queue behind it; what has surely ended is the step before, whose stage goes
// back.
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
#define SHARED_BYTES (STAGES * (A_BYTES + B_BYTES + 16) + 1024)

extern "C" __global__ void __launch_bounds__(384, 1)
gemm_14_overlap(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map, float* out, int m,
                 int n, int k) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  Barrier *full = reinterpret_cast<Barrier*>(tiles + STAGES * (A_BYTES + B_BYTES)), *empty = full + STAGES;
  const int row = blockIdx.y * TILE_M, col = blockIdx.x * TILE_N, num_tiles = (k + TILE_K - 1) / TILE_K;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      barrier_init(&full[i], 1);
      barrier_init(&empty[i], 8);  // the warps of two consumers
    }
    barrier_init_fence();
  }
  __syncthreads();

  if (threadIdx.x < 128) {
    registers_give<40>();
    if (threadIdx.x > 0) return;
    for (int tile = 0; tile < num_tiles; tile++) {
      unsigned char *a_tile = tiles + tile % STAGES * (A_BYTES + B_BYTES), *b_tile = a_tile + A_BYTES;
      Barrier* barrier = &full[tile % STAGES];
      barrier_wait(&empty[tile % STAGES], tile / STAGES % 2 ^ 1);
      barrier_expect(barrier, A_BYTES + B_BYTES);
      tensor_copy(a_tile, &a_map, tile * TILE_K, row, 0, barrier);
      for (int i = 0; i < TILE_N / 64; i++)
        tensor_copy(b_tile + i * BOX_BYTES, &b_map, col + 64 * i, tile * TILE_K, 0, barrier);
    }
  } else {
    registers_take<232>();
    const int consumer = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4;
    float sums[TILE_N / 8][4] = {};
    keep_sums(sums);  // set here, and not by the compiler while products are under way: it would let them wait
    auto release = [&](int tile) {
      if (threadIdx.x % 32 == 0) barrier_arrive(&empty[tile % STAGES], 0);
    };
    for (int tile = 0; tile < num_tiles; tile++) {
      unsigned char* a_tile = tiles + tile % STAGES * (A_BYTES + B_BYTES);
      const auto a = wgmma_factor<true>(a_tile + consumer * 64 * 128, 0);
      const auto b = wgmma_factor<false>(a_tile + A_BYTES, BOX_BYTES);
      barrier_wait(&full[tile % STAGES], tile / STAGES % 2);
      wgmma_fence(sums);
#pragma unroll
      for (int i = 0; i < TILE_K / 16; i++)
        wgmma<true, true, false>(sums, wgmma_advance(a, i * 32), wgmma_advance(b, i * 16 * 128), true);
      wgmma_commit();
      wgmma_wait<1>();                  // these products may still run: those of the step before have ended,
      if (tile > 0) release(tile - 1);  // so its stage is free
    }
    wgmma_wait(sums);
    write_fragments(out, m, n, row + consumer * 64 + warp * 16, col, sums);
  }
}

// Ladder 17, stores by the copy engine: as rung 16, but warps leave their sums in shared memory, and it writes them
// Arch: sm_90a
// Shapes: a (M, K), b (K, N) bf16, out (M, N) fp32, row-major; all rows at multiples of 16 bytes
// Launch: a_map: boxes 64 x 128, b_map: boxes 64 x 64, out_map: boxes 32 x 16 of fp32 (kernels/README.md); grid of as
//     many blocks as run at once, two a cluster; block 384, SHARED_BYTES of dynamic shared memory
// Roofline: as rung 16, with out written while the next tile is multiplied. Oracle: ops/matmul.py.
// Source: PTX ISA, cp.async.bulk.tensor, async proxy; Pranjal Shankhdhar 2024, "Outperforming cuBLAS on H100".
//
// Stores of registers took an address and a comparison with the edge for each 8 bytes, and the warp went on when all
// were on their way. Now a warp puts 16 x 32 sums at a time in a swizzled box, orders its writes before the copy
// engine's reads (fence_async), and one lane requests the store; the engine leaves out what is outside of the matrix.
// Two boxes take turns: a box is written again when its store has read it.
#include "common/ptx/cluster.cuh"
#include "common/ptx/tensor_copy.cuh"
#include "common/ptx/wgmma.cuh"
#include "common/vec.cuh"
#include "products/gemm.cuh"

#define TILE_M 128
#define TILE_N 256
#define TILE_K 64
#define STAGES 4
#define CLUSTER 2
#define BOXES 16  // of out: two of each consumer's warps
#define STAGING_BYTES 32768
#define A_BYTES (TILE_M * 128)
#define B_BYTES (TILE_N * 128)
#define BOX_BYTES (64 * 128)
#define OUT_BYTES (STAGING_BYTES / BOXES)
#define SHARED_BYTES (STAGES * (A_BYTES + B_BYTES + 16) + STAGING_BYTES + 1024)

// Write the sums of a warp, which begin at (row, col) of out, box by box.
template <int GROUPS>
__device__ __forceinline__ void store_sums(const TensorMap* out_map, unsigned char* boxes, int row, int col,
                                           const float (&sums)[GROUPS][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int first = 0; first < GROUPS; first += 4) {
    unsigned char* box = boxes + first / 4 % 2 * OUT_BYTES;
    if (lane == 0) tensor_stores_read<1>();
    __syncwarp();  // this box is free
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int y = 8 * half + lane / 4, piece = 2 * j + lane % 4 / 2;
        const Vec<float, 2> pair = {sums[first + j][2 * half], sums[first + j][2 * half + 1]};
        *reinterpret_cast<Vec<float, 2>*>(box + y * 128 + (piece ^ y % 8) * 16 + lane % 2 * 8) = pair;
      }
    fence_async();
    __syncwarp();
    if (lane > 0) continue;
    tensor_store(out_map, col + 8 * first, row, 0, box);
    commit_tensor_stores();
  }
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(384, 1)
gemm_17_store(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map,
              const __grid_constant__ TensorMap out_map, int m, int n, int k) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  unsigned char* staging = tiles + STAGES * (A_BYTES + B_BYTES);
  Barrier *full = reinterpret_cast<Barrier*>(staging + STAGING_BYTES), *empty = full + STAGES;
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
      store_sums(&out_map, staging + (consumer * 4 + warp) * 2 * OUT_BYTES, row, origin.col, sums);
    }
    if (threadIdx.x % 32 == 0) tensor_stores_read<0>();  // shared memory ends with the block
  }
  cluster_barrier();
}

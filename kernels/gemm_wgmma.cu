// Matrix product on Hopper's tensor cores, sm_90a: out = epilogue(alpha A B + beta C), summed in fp32
// Arch: sm_90a
// Shapes: A (M, K), B (K, N), C, out, pre (M, N), row-major with leading dims; bias (N,). See common/gemm.cuh. A and B
//     begin at multiples of 16 bytes, and so do their rows and their matrices of a batch.
// Types: INPUT_BF16 1: bf16; 0: fp32 read as tf32, with 13 bits cut off and not rounded, A (M, K) and B (N, K) only.
//     OUTPUT_BF16 0: C, out and pre are fp32; 1: bf16.
// Launch: a_map, b_map: the matrices as stored, in boxes BOX deep (below); grid CLUSTER x clusters, as many as run at
//     once; 384 per block; SHARED_BYTES of dynamic shared memory, one block per SM; slabs of 16
// Roofline: 2MNK operations for s (MK + KN + 2MN) bytes; compute-bound from about 1024^3 up. Oracle: ops/matmul.py.
// Source: PTX ISA, wgmma, mbarrier, cp.async.bulk.tensor; Shah et al. 2024, "FlashAttention-3" (the warpgroups' roles);
//     Pranjal Shankhdhar 2024, "Outperforming cuBLAS on H100". The steps that lead here: ladder/.
//
// Three warpgroups share a block. One thread of the first, the producer, keeps a ring of STAGES tiles filled by tensor
// copies; the others, the consumers, multiply 64 rows each of the arrived tiles. Two mbarriers per stage pass it on:
// `full` changes phase when the bytes have arrived, `empty` when every warp has read them. Blocks are persistent: while
// consumers write a tile of out, the producer is already in the next. A CLUSTER of two blocks computes tiles one below
// the other: they need the same columns of B, so each fetches one half and sends it to both.
#ifndef INPUT_BF16
#define INPUT_BF16 1
#endif
#include "common/fragments.cuh"
#include "common/gemm.cuh"
#include "common/ring.cuh"
#include "common/tensor_copy.cuh"
#include "common/types.cuh"
#include "common/work.cuh"

#ifndef TILE_N
#define TILE_N 256
#define STAGES 4
#endif
#ifndef CLUSTER
#define CLUSTER 1
#endif
#define TILE_M 128
#define WARP_M 16
#define THREADS 384
#define SHARED_BYTES (STAGES * (TILE_M + TILE_N) * 128 + STAGES * 16 + 1024)

static_assert(INPUT_BF16 || (!TRANSPOSE_A && TRANSPOSE_B), "wgmma reads tf32 only where k is contiguous");

constexpr int BOX = ROW_BYTES / sizeof(Input);           // elements of a row of it
constexpr int TILE_K = BOX;
constexpr int CONSUMERS = 2, CONSUMER_WARPS = 4 * CONSUMERS;
constexpr int GROUP_M = TILE_M / CONSUMERS;              // rows of one consumer
constexpr int A_BYTES = TILE_M * ROW_BYTES, B_BYTES = TILE_N * ROW_BYTES, STAGE_BYTES = A_BYTES + B_BYTES;

static_assert(GROUP_M == 64, "the rows of one wgmma");
static_assert(THREADS == (1 + CONSUMERS) * WARPGROUP, "a producer and the consumers");
static_assert(CLUSTER == 1 || CLUSTER == 2, "tiles one below the other share B");
static_assert(TILE_N % (64 * CLUSTER) == 0, "a block's share of B is whole boxes");
static_assert(SHARED_BYTES <= 227 * 1024, "a block has at most 227 KB of shared memory");

using Stages = Ring<STAGES, A_BYTES, B_BYTES, CLUSTER>;

using Pieces = Work<TILE_M, TILE_N, CLUSTER>;

__device__ __forceinline__ int num_steps(Depth depth) { return (depth.stop - depth.first + TILE_K - 1) / TILE_K; }

// A matrix that is contiguous in k comes in one box of EXTENT rows; else in boxes of BOX columns, TILE_K deep.
template <int EXTENT, bool K_CONTIGUOUS, class Copy>
__device__ __forceinline__ void copy_boxes(unsigned char* tile, int first, int k, Copy copy) {
  if (K_CONTIGUOUS) {
    copy(tile, k, first);
  } else {
#pragma unroll
    for (int i = 0; i < EXTENT / BOX; i++) copy(tile + i * TILE_K * ROW_BYTES, first + i * BOX, k);
  }
}

__device__ __forceinline__ void produce(const Stages& stages, const TensorMap& a_map, const TensorMap& b_map,
                                        const Gemm<Input, Output>& gemm) {
  constexpr int SHARE = TILE_N / CLUSTER;  // of the columns of B
  const int rank = CLUSTER > 1 ? rank_in_cluster() : 0;
  Place<STAGES> at;
  for (Pieces work(gemm); work.left(gemm); work.advance()) {
    const TileOrigin origin = work.origin(gemm);
    const Depth depth = depth_of(gemm, work.split(gemm));
    const int a_index = gemm.a_batch ? work.index(gemm) : 0, b_index = gemm.b_batch ? work.index(gemm) : 0;
    for (int k = depth.first; k < depth.stop; k += TILE_K, at.advance()) {
      Barrier* full = &stages.full[at.stage];
      barrier_wait(&stages.empty[at.stage], at.phase ^ 1);
      barrier_expect(full, STAGE_BYTES);
      copy_boxes<TILE_M, !TRANSPOSE_A>(stages.a(at.stage), origin.row, k, [&](unsigned char* to, int x, int y) {
        tensor_copy(to, &a_map, x, y, a_index, full);
      });
      unsigned char* b = stages.b(at.stage) + rank * SHARE * ROW_BYTES;
      copy_boxes<SHARE, TRANSPOSE_B>(b, origin.col + rank * SHARE, k, [&](unsigned char* to, int x, int y) {
        if (CLUSTER == 1)
          tensor_copy(to, &b_map, x, y, b_index, full);
        else
          tensor_copy_multicast(to, &b_map, x, y, b_index, full, (1 << CLUSTER) - 1);
      });
    }
  }
}

__device__ __forceinline__ void consume(const Stages& stages, const Gemm<Input, Output>& gemm) {
  const int consumer = threadIdx.x / WARPGROUP - 1, warp = threadIdx.x / 32 % 4;
  Place<STAGES> at;
  for (Pieces work(gemm); work.left(gemm); work.advance()) {
    const TileOrigin origin = work.origin(gemm);
    const int steps = num_steps(depth_of(gemm, work.split(gemm)));
    float sums[1][TILE_N / 8][4] = {};
    multiply<INPUT_BF16, !TRANSPOSE_A, TRANSPOSE_B>(sums[0], stages, at, steps, consumer * GROUP_M);
    const int row = origin.row + consumer * GROUP_M + warp * WARP_M;
    finish_fragments(gemm, work.index(gemm), work.split(gemm), row, origin.col, sums);
  }
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
gemm_wgmma(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map,
           const __grid_constant__ Gemm<Input, Output> gemm) {
  DYNAMIC_SHARED(shared);
  const Stages stages(shared);
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&a_map);
    prefetch_tensor_map(&b_map);
  }
  run_warpgroups(
      stages, CONSUMER_WARPS, [&] { produce(stages, a_map, b_map, gemm); }, [&] { consume(stages, gemm); });
}

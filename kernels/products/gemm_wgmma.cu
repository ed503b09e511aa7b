// Matrix product on Hopper's tensor cores, sm_90a: out = epilogue(alpha A B + beta C), summed in fp32
// Arch: sm_90a
// Shapes: A (M, K), B (K, N), C, out, pre (M, N), row-major with leading dims; bias (N,). See products/gemm.cuh. A and B
//     begin at multiples of 16 bytes, and so do their rows and their matrices of a batch.
// Types: INPUT_BF16 1: bf16; 0: fp32 read as tf32, with 13 bits cut off and not rounded, A (M, K) and B (N, K) only.
//     OUTPUT_BF16 0: C, out and pre are fp32; 1: bf16.
// Launch: a_map, b_map: the matrices as stored, in boxes BOX deep (below); out_map, pre_map: out and pre in boxes of 128
//     bytes x 16, read where rows are at multiples of 16 bytes and K is not split; grid CLUSTER x clusters, as many as
//     run at once; 384 per block; SHARED_BYTES of dynamic shared memory, one block per SM; slabs of 16
// Roofline: 2MNK operations for s (MK + KN + 2MN) bytes; compute-bound from about 1024^3 up. Oracle: ops/matmul.py.
// Source: PTX ISA, wgmma, mbarrier, cp.async.bulk.tensor; Shah et al. 2024, "FlashAttention-3" (the warpgroups' roles);
//     Pranjal Shankhdhar 2024, "Outperforming cuBLAS on H100"; CUTLASS, "Efficient GEMM" (ping-pong); Zhao et al. 2025,
//     "DeepGEMM" (widths of tiles between powers of 2). The steps that lead here: ladder/. It has not run on a GPU.
//
// Three warpgroups share a block. One thread of the first, the producer, keeps a ring of STAGES tiles filled by tensor
// copies; the others, the consumers, multiply the arrived tiles. Two mbarriers per stage pass it on: `full` changes phase
// when the bytes have arrived, `empty` when every warp has read them. Blocks are persistent: while consumers write a tile
// of out, the producer is already in the next. A CLUSTER of two blocks computes tiles one below the other: they need the
// same columns of B, so each fetches its boxes of them and sends them to both.
//
// PING_PONG 0: the consumers multiply one half of the rows of each tile, for a long K. 1: they take tiles in turn, so that
// one multiplies while the other writes, for a short K; named barriers keep the order of their products, which is
// that of the stages.
#ifndef INPUT_BF16
#define INPUT_BF16 1
#endif
#include "common/ptx/cluster.cuh"
#include "common/ptx/named_barrier.cuh"
#include "common/ptx/tensor_copy.cuh"
#include "products/gemm.cuh"
#include "products/ring.cuh"
#include "products/staged.cuh"
#include "products/stream_k.cuh"
#include "products/types.cuh"

#ifndef TILE_N
#define TILE_N 256
#define STAGES 4
#endif
#ifndef TILE_M
#define TILE_M 128
#define BUFFERS 2
#define PING_PONG 0
#endif
#ifndef CLUSTER
#define CLUSTER 1
#endif
#define WARP_M 16
#define THREADS 384
#define B_BOXES ((TILE_N + 63) / 64)  // of 64 columns, where those of B are contiguous
#define B_ROWS (TRANSPOSE_B ? TILE_N : 64 * B_BOXES)
#define SHARED_BYTES (STAGES * ((TILE_M + B_ROWS) * 128 + 16) + 8 * BUFFERS * (16 * 128 + 8) + 1024)

static_assert(INPUT_BF16 || (!TRANSPOSE_A && TRANSPOSE_B), "wgmma reads tf32 only where k is contiguous");

constexpr int BOX = ROW_BYTES / sizeof(Input);  // elements of a row of it
constexpr int TILE_K = BOX;
constexpr int CONSUMERS = 2, GROUP_M = PING_PONG ? TILE_M : TILE_M / CONSUMERS;  // rows that one consumer multiplies
constexpr int SLABS = GROUP_M / 64;                                              // of one wgmma
constexpr int A_BYTES = TILE_M * ROW_BYTES, B_BYTES = B_ROWS * ROW_BYTES, STAGE_BYTES = A_BYTES + B_BYTES;
constexpr int TURN = 1;  // the named barriers at which the consumers wait for their turns

static_assert(SLABS * 64 == GROUP_M, "the rows of one wgmma");
static_assert(GROUP_M * TILE_N <= 128 * WARPGROUP, "a thread has 128 registers for sums");
static_assert(TILE_N % 32 == 0, "whole chunks of fp32");
static_assert(THREADS == (1 + CONSUMERS) * WARPGROUP, "a producer and the consumers");
static_assert(CLUSTER == 1 || CLUSTER == 2, "tiles one below the other share B");
static_assert(TILE_N % (8 * CLUSTER) == 0, "a block's share of B is whole groups of the swizzle");
static_assert(SHARED_BYTES <= 227 * 1024, "a block has at most 227 KB of shared memory");

using Stages = Ring<STAGES, A_BYTES, B_BYTES, CLUSTER>;
using Pieces = StreamWork<CLUSTER>;
using Writer = Staged<BUFFERS, SLABS, TILE_N / 8, Input, Output>;

// Shared memory: the buffers of all warps, the ring, the barriers of the buffers.
constexpr int WRITERS = 4 * CONSUMERS, WRITER_BYTES = WRITERS * BUFFERS * CHUNK_BYTES;
__device__ __forceinline__ Barrier* barriers_behind(const Stages& stages) { return stages.empty + STAGES; }

// A piece of work, and the tile of it that belongs to this block: those of a cluster are one below the other.
struct Task {
  StreamPiece piece;
  int index;  // of the matrix in the batch
  TileOrigin origin;
  __device__ __forceinline__ Task(const Gemm<Input, Output>& gemm, const StreamK& stream, const Pieces& work)
      : piece(work.piece(stream, gemm.k)) {
    const int tiles = num_tiles(CLUSTER * TILE_M, TILE_N, gemm.m, gemm.n);
    index = piece.tile / tiles;
    origin = tile_origin<CLUSTER * TILE_M, TILE_N>(piece.tile % tiles, gemm.m, gemm.n);
    if (CLUSTER > 1) origin.row += rank_in_cluster() * TILE_M;
  }
};

__device__ __forceinline__ int num_steps(Depth depth) { return (depth.stop - depth.first + TILE_K - 1) / TILE_K; }

// A matrix that is contiguous in k comes in one box of EXTENT rows, else in boxes of BOX columns, TILE_K deep. Of these
// this block fetches number `rank`, and every PARTS-th from there on.
template <int EXTENT, bool K_CONTIGUOUS, int PARTS, class Copy>
__device__ __forceinline__ void copy_boxes(unsigned char* tile, int first, int k, int rank, Copy copy) {
  if (K_CONTIGUOUS) {
    constexpr int SHARE = EXTENT / PARTS;
    copy(tile + rank * SHARE * ROW_BYTES, k, first + rank * SHARE);
  } else {
#pragma unroll
    for (int i = 0; i < EXTENT / BOX; i += PARTS)
      if (i + rank < EXTENT / BOX) copy(tile + (i + rank) * TILE_K * ROW_BYTES, first + (i + rank) * BOX, k);
  }
}

__device__ __forceinline__ void produce(const Stages& stages, const TensorMap& a_map, const TensorMap& b_map,
                                        const Gemm<Input, Output>& gemm, const StreamK& stream) {
  const int rank = CLUSTER > 1 ? rank_in_cluster() : 0;
  Place<STAGES> at;
  for (Pieces work(stream); work.left(stream); work.advance(stream)) {
    const Task task(gemm, stream, work);
    const TileOrigin origin = task.origin;
    const int a_index = gemm.a_batch ? task.index : 0, b_index = gemm.b_batch ? task.index : 0;
    for (int k = task.piece.depth.first; k < task.piece.depth.stop; k += TILE_K, at.advance()) {
      Barrier* full = &stages.full[at.stage];
      barrier_wait(&stages.empty[at.stage], at.phase ^ 1);
      barrier_expect(full, STAGE_BYTES);
      copy_boxes<TILE_M, !TRANSPOSE_A, 1>(
          stages.a(at.stage), origin.row, k, 0,
          [&](unsigned char* to, int x, int y) { tensor_copy(to, &a_map, x, y, a_index, full); });
      copy_boxes<B_ROWS, TRANSPOSE_B, CLUSTER>(
          stages.b(at.stage), origin.col, k, rank, [&](unsigned char* to, int x, int y) {
            if (CLUSTER == 1)
              tensor_copy(to, &b_map, x, y, b_index, full);
            else
              tensor_copy_multicast(to, &b_map, x, y, b_index, full, (1 << CLUSTER) - 1);
          });
    }
  }
}

// The other consumer may begin, if there is a piece for it.
__device__ __forceinline__ void pass_turn(const StreamK& stream, Pieces work, int consumer) {
  work.advance(stream);
  if (work.left(stream)) named_barrier_arrive<CONSUMERS * WARPGROUP>(TURN + 1 - consumer);
}

__device__ __forceinline__ void consume(const Stages& stages, unsigned char* buffers, const TensorMap& out_map,
                                        const TensorMap& pre_map, const Gemm<Input, Output>& gemm,
                                        const StreamK& stream) {
  const int consumer = warpgroup() - 1, warp = threadIdx.x / 32 % 4, first = PING_PONG ? 0 : consumer * GROUP_M;
  const int strip = ((CLUSTER > 1 ? rank_in_cluster() * TILE_M : 0) + first) / STRIP_ROWS + warp;
  Writer writer(buffers, barriers_behind(stages), 4 * consumer + warp);
  const bool takes = Writer::takes(gemm);
  Place<STAGES> at;
  Pieces work(stream);
  if (PING_PONG && consumer == 1 && work.left(stream)) named_barrier_arrive<CONSUMERS * WARPGROUP>(TURN);
  for (int turn = 0; work.left(stream); work.advance(stream), turn ^= 1) {
    const Task task(gemm, stream, work);
    const int steps = num_steps(task.piece.depth);
    if (PING_PONG && turn != consumer) {
      at.advance(steps);
      continue;
    }
    const TileOrigin origin = task.origin;
    const int row = origin.row + first;
    const bool whole = task.piece.plane < 0;
    const bool inside = takes && whole && row + GROUP_M <= gemm.m && origin.col + TILE_N <= gemm.n;
    const WarpTile tile = {task.index, row + warp * CHUNK_ROWS, origin.col};
    if (inside) writer.begin(pre_map, tile);
    float sums[SLABS][TILE_N / 8][4] = {};
    if (PING_PONG) named_barrier_wait<CONSUMERS * WARPGROUP>(TURN + consumer);
    multiply<INPUT_BF16, !TRANSPOSE_A, TRANSPOSE_B>(sums, stages, at, steps, first, [&] {
      if (PING_PONG) pass_turn(stream, work, consumer);
    });
    if (inside)
      writer.finish(gemm, out_map, pre_map, tile, sums);
    else if (whole)
      writer.finish_rows(gemm, tile, sums);
    else
      keep_partials(gemm.partials, stream, task.piece, strip, sums);
  }
  writer.end();
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
gemm_wgmma(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map,
           const __grid_constant__ TensorMap out_map, const __grid_constant__ TensorMap pre_map,
           const __grid_constant__ Gemm<Input, Output> gemm, const __grid_constant__ StreamK stream) {
  DYNAMIC_SHARED(shared);
  unsigned char* buffers = align_to_swizzle(shared);
  const Stages stages(buffers + WRITER_BYTES);
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&a_map);
    prefetch_tensor_map(&b_map);
    Writer::init(barriers_behind(stages), WRITERS);
  }
  run_warpgroups(
      stages, PING_PONG ? 4 : WRITERS, [&] { produce(stages, a_map, b_map, gemm, stream); },
      [&] { consume(stages, buffers, out_map, pre_map, gemm, stream); });
}

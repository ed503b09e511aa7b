// Convolution on Hopper's tensor cores, sm_90a: dw, summed over pixels, from images that the copy engine gathers
// Arch: sm_90a
// Shapes: see convolutions/convolution.cuh; one group. x and dy begin at multiples of 16 bytes, O is a multiple of 8 and C
//     one of 64, so that 64 rows of dw belong to one tap.
// Types: x, dy bf16; OUTPUT_BF16 0: dw is fp32; 1: bf16.
// Launch: a_map: x, the windows of common/ptx/tensor_copy.cuh, boxes of 64 channels x 64 pixels; b_map: dy as a matrix (N
//     OH OW, O), boxes of 64 outputs x 64 / CLUSTER pixels; the record; grid, block, shared memory and slabs as
//     conv2d_wgmma.cu. With splits, gemm_sum.cu adds the parts of the pixels, in order.
// Roofline: 2 N OH OW KH KW C O operations for 2 (N H W C + N OH OW O) bytes; x is fetched from L2 for each tap and
//     tile of O, dy for each two taps or 128 channels.
// Oracle: ops/conv2d.py. Source: Chetlur et al. 2014, "cuDNN"; see conv2d_wgmma.cu. It has not run on a GPU.
//
// A row of dw is a tap and a channel, and k are pixels: both factors lie in memory across k, channels or outputs side
// by side, which wgmma reads as they are. Each consumer has 64 channels of one tap; the other may have those of
// another tap, so that 64 channels fill a tile.
#define INPUT_BF16 1
#ifndef CONVOLUTION
#define CONVOLUTION 2
#endif
#include "convolutions/convolution.cuh"
#include "convolutions/windows.cuh"
#include "products/fragments.cuh"
#include "products/ring.cuh"
#include "products/types.cuh"
#include "products/work.cuh"

#ifndef TILE_N
#define TILE_N 128
#define STAGES 6
#endif
#ifndef CLUSTER
#define CLUSTER 1
#endif
#define TILE_M 128
#define WARP_M 16
#define THREADS 384
#define SHARED_BYTES (STAGES * (TILE_M + TILE_N) * 128 + STAGES * 16 + 1024)

constexpr int BOX = ROW_BYTES / sizeof(Input), TILE_K = BOX;
constexpr int CONSUMERS = 2, GROUP_M = TILE_M / CONSUMERS;
constexpr int A_BYTES = TILE_M * ROW_BYTES, B_BYTES = TILE_N * ROW_BYTES, STAGE_BYTES = A_BYTES + B_BYTES;
constexpr int SHARE = TILE_K / CLUSTER;  // of the pixels of B, which one block fetches for all

static_assert(GROUP_M == 64 && BOX == 64, "the rows of one wgmma, and the channels of one box");
static_assert(THREADS == (1 + CONSUMERS) * WARPGROUP, "a producer and the consumers");
static_assert(CLUSTER == 1 || CLUSTER == 2, "tiles one below the other share B");
static_assert(TILE_N % BOX == 0 && SHARE % 8 == 0, "whole boxes, and shares of them that the swizzle can be cut at");
static_assert(SHARED_BYTES <= 227 * 1024, "a block has at most 227 KB of shared memory");

using Conv = Convolution<Input, Output>;
using Stages = Ring<STAGES, A_BYTES, B_BYTES, CLUSTER>;
using Pieces = Work<TILE_M, TILE_N, CLUSTER>;

// 64 rows of dw: where their channels are, and how far their tap is from the first of a window.
struct Rows {
  int channel, offset_w, offset_h;
  __device__ __forceinline__ Rows(const Conv& conv, int row) {
    const Axis &rows = conv.axes[0][0], &cols = conv.axes[1][0];
    const auto of_tap = conv.by_depth(min(row, conv.gemm.m - GROUP_M));  // rows behind the last are not stored
    const auto tap = cols.by_taps(of_tap.quotient);
    channel = of_tap.remainder;
    offset_w = tap.remainder * cols.step;
    offset_h = tap.quotient * rows.step;
  }
};

__device__ __forceinline__ void produce(const Stages& stages, const TensorMap& a_map, const TensorMap& b_map,
                                        const Conv& conv) {
  const int share = CLUSTER > 1 ? rank_in_cluster() * SHARE : 0;
  Place<STAGES> at;
  for (Pieces work(conv.gemm); work.left(conv.gemm); work.advance()) {
    const TileOrigin origin = work.origin(conv.gemm);
    const Depth depth = depth_of(conv.gemm, work.split(conv.gemm));
    const Rows parts[CONSUMERS] = {Rows(conv, origin.row), Rows(conv, origin.row + GROUP_M)};
    for (int k = depth.first; k < depth.stop; k += TILE_K, at.advance()) {
      Barrier* full = &stages.full[at.stage];
      FirstWindow window = first_window(conv.axes[0][0], conv.axes[1][0], k);
      barrier_wait(&stages.empty[at.stage], at.phase ^ 1);
      barrier_expect(full, STAGE_BYTES);
#pragma unroll
      for (int i = 0; i < CONSUMERS; i++) {
        window.channel = parts[i].channel;
        im2col_copy(stages.a(at.stage) + i * GROUP_M * ROW_BYTES, &a_map, window, parts[i].offset_w, parts[i].offset_h,
                    full);
      }
#pragma unroll
      for (int i = 0; i < TILE_N; i += BOX) {
        unsigned char* to = stages.b(at.stage) + (i + share) * ROW_BYTES;
        if (CLUSTER == 1)
          tensor_copy(to, &b_map, origin.col + i, k, 0, full);
        else
          tensor_copy_multicast(to, &b_map, origin.col + i, k + share, 0, full, (1 << CLUSTER) - 1);
      }
    }
  }
}

__device__ __forceinline__ void consume(const Stages& stages, const Conv& conv) {
  const int consumer = warpgroup() - 1, warp = threadIdx.x / 32 % 4;
  Place<STAGES> at;
  for (Pieces work(conv.gemm); work.left(conv.gemm); work.advance()) {
    const TileOrigin origin = work.origin(conv.gemm);
    const int split = work.split(conv.gemm);
    const Depth depth = depth_of(conv.gemm, split);
    const int steps = (depth.stop - depth.first + TILE_K - 1) / TILE_K;
    float sums[1][TILE_N / 8][4] = {};
    multiply<true, false, false>(sums[0], stages, at, steps, consumer * GROUP_M);
    finish_fragments(conv.gemm, 0, split, origin.row + consumer * GROUP_M + warp * WARP_M, origin.col, sums);
  }
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
conv2d_dw_wgmma(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map,
                const __grid_constant__ Conv conv) {
  DYNAMIC_SHARED(shared);
  const Stages stages(shared);
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&a_map);
    prefetch_tensor_map(&b_map);
  }
  run_warpgroups(
      stages, 4 * CONSUMERS, [&] { produce(stages, a_map, b_map, conv); }, [&] { consume(stages, conv); });
}

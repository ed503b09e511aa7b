// Convolution on Hopper's tensor cores, sm_90a: y, and dx class by class, from images that the copy engine gathers
// Arch: sm_90a
// Shapes: see convolutions/convolution.cuh; one group, and classes of dx. x (or dy) and w begin at multiples of 16
//     bytes, and have channels in multiples of 8. k counts what is fetched: 64 for each tap and 64 channels, zeros
//     behind the last.
// Types: x, w bf16. OUTPUT_BF16 0: y, residual and pre are fp32; 1: bf16.
// Launch: a_maps: x (dy for dx), the windows of each class (SCATTER 1: of four; see common/ptx/tensor_copy.cuh), boxes of
//     64 channels x 128 pixels; b_map: w as
//     matrices (C, O), one a tap, boxes of 64 outputs x 64 / CLUSTER channels, for dx of 64 outputs x TILE_N / CLUSTER
//     channels; the record; grid CLUSTER x clusters, as many as run at once; 384 per block; SHARED_BYTES of dynamic
//     shared memory, one block per SM; slabs of 64. Axes count taps so that `step` is not negative.
// Roofline: 2 N OH OW KH KW C O operations for 2 (N H W C + N OH OW O) bytes; but each tap is fetched from L2 again,
//     KH KW times 128 C bytes a tile: with 64 outputs that bounds it, at 96 bytes for each cycle of the tensor cores.
// Oracle: ops/conv2d.py. Source: PTX ISA, "im2col mode"; Chetlur et al. 2014, "cuDNN"; see gemm_wgmma.cu for the
//     rest.
// It has not run on a GPU.
//
// gemm_wgmma.cu with another producer: a step of k is one tap and 64 channels, and its tile of A the pixels under
// that tap of 128 windows, which the copy engine finds, zeros in the padding included. So no thread computes an
// address of a pixel: the place of a tile's first window takes two divisions by multiplication.
#define INPUT_BF16 1
#include "convolutions/convolution.cuh"
#include "convolutions/windows.cuh"
#include "products/fragments.cuh"
#include "products/group_columns.cuh"
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
#ifndef SCATTER  // 1: dx with a stride: several classes, whose pixels of out are apart from each other
#define SCATTER 0
#endif
#define MOST_CLASSES (SCATTER ? 4 : 1)
#define TILE_M 128
#define WARP_M 16
#define THREADS 384
#define COLUMN_BYTES (64 * TILE_N)  // of both consumers' columns
#define SHARED_BYTES (STAGES * (TILE_M + TILE_N) * 128 + STAGES * 16 + COLUMN_BYTES + 1024)

constexpr bool B_K = CONVOLUTION == CONVOLUTION_DX;  // outputs are k, and contiguous in w
constexpr int BOX = ROW_BYTES / sizeof(Input), TILE_K = BOX;
constexpr int CONSUMERS = 2, GROUP_M = TILE_M / CONSUMERS;
constexpr int A_BYTES = TILE_M * ROW_BYTES, B_BYTES = TILE_N * ROW_BYTES, STAGE_BYTES = A_BYTES + B_BYTES;
constexpr int SHARE = (B_K ? TILE_N : TILE_K) / CLUSTER;  // of the rows of B's boxes, which one block fetches for all

static_assert(CONVOLUTION == CONVOLUTION_FORWARD || CONVOLUTION == CONVOLUTION_DX, "conv2d_dw_wgmma.cu is for dw");
static_assert(GROUP_M == 64, "the rows of one wgmma");
static_assert(THREADS == (1 + CONSUMERS) * WARPGROUP, "a producer and the consumers");
static_assert(CLUSTER == 1 || CLUSTER == 2, "tiles one below the other share B");
static_assert(TILE_N % BOX == 0 && SHARE % 8 == 0, "whole boxes, and shares of them that the swizzle can be cut at");
static_assert(SHARED_BYTES <= 227 * 1024, "a block has at most 227 KB of shared memory");

using Conv = Convolution<Input, Output>;
using Product = Gemm<Input, Output>;
using Stages = Ring<STAGES, A_BYTES, B_BYTES, CLUSTER>;
using Pieces = Work<TILE_M, TILE_N, CLUSTER>;
using TileColumns = GroupColumns<TILE_N>;
static_assert(TileColumns::ROWS == GROUP_M && CONSUMERS * TileColumns::FLOATS * 4 <= COLUMN_BYTES, "room for them");

// Of the gathered images, one for each class: the pixels that its windows see.
struct ImageMaps {
  TensorMap of[MOST_CLASSES];
};

// Every class after the other: body(its map, itself, its product, this cluster's first piece) returns the first piece of
// the next. So clusters that are done with one class go on with another.
template <class Body>
__device__ __forceinline__ void for_each_class(const ImageMaps& maps, const Conv& conv, Body body) {
  int first = blockIdx.x / CLUSTER;
#if SCATTER
  for (int number = 0; number < conv.classes[0] * conv.classes[1]; number++) {
    const Class part = class_of(conv, number);
    Product gemm = product_of(conv, part);
    gemm.k = part.rows.taps * part.cols.taps * ((conv.depth + TILE_K - 1) / TILE_K * TILE_K);
    first = body(&maps.of[number], part, gemm, first);
  }
#else
  body(&maps.of[0], class_of(conv, 0), conv.gemm, first);
#endif
}

// The place in k: channels after channels, tap after tap. `tap`: its number in w.
struct TapPlace {
  const Axis &rows, &cols;
  const int depth, width;
  int channel, col, row;

  __device__ __forceinline__ TapPlace(const Conv& conv, const Class& part, int k)
      : rows(part.rows), cols(part.cols), depth(conv.depth), width(conv.kernel_width) {
    const int steps = (depth + TILE_K - 1) / TILE_K, step = k / TILE_K, number = step / steps;
    const auto at = cols.by_taps(number);
    channel = (step - number * steps) * TILE_K;
    row = at.quotient;
    col = at.remainder;
  }
  __device__ __forceinline__ int tap() const {
    return (rows.first_tap + row * rows.tap_step) * width + cols.first_tap + col * cols.tap_step;
  }
  __device__ __forceinline__ void advance() {
    channel += TILE_K;
    if (channel < depth) return;
    channel = 0;
    if (++col < cols.taps) return;
    col = 0;
    row++;
  }
};

__device__ __forceinline__ void copy_weights(unsigned char* tile, const TensorMap& b_map, int col, int channel, int tap,
                                             Barrier* full) {
  const int first = CLUSTER > 1 ? rank_in_cluster() * SHARE : 0;
  auto copy = [&](unsigned char* to, int x, int y) {
    if (CLUSTER == 1)
      tensor_copy(to, &b_map, x, y, tap, full);
    else
      tensor_copy_multicast(to, &b_map, x, y, tap, full, (1 << CLUSTER) - 1);
  };
  tile += first * ROW_BYTES;
  if (B_K) {
    copy(tile, channel, col + first);
  } else {
#pragma unroll
    for (int i = 0; i < TILE_N / BOX; i++) copy(tile + i * TILE_K * ROW_BYTES, col + i * BOX, channel + first);
  }
}

__device__ __forceinline__ void produce(const Stages& stages, const ImageMaps& a_maps, const TensorMap& b_map,
                                        const Conv& conv) {
  Place<STAGES> at;
  for_each_class(a_maps, conv, [&](const TensorMap* a_map, const Class& part, const Product& gemm, int first) {
    Pieces work(gemm, first);
    for (; work.left(gemm); work.advance()) {
      const TileOrigin origin = work.origin(gemm);
      const Depth depth = depth_of(gemm, work.split(gemm));
      FirstWindow window = first_window(part.rows, part.cols, origin.row);
      TapPlace tap(conv, part, depth.first);
      for (int k = depth.first; k < depth.stop; k += TILE_K, at.advance(), tap.advance()) {
        Barrier* full = &stages.full[at.stage];
        barrier_wait(&stages.empty[at.stage], at.phase ^ 1);
        barrier_expect(full, STAGE_BYTES);
        window.channel = tap.channel;
        im2col_copy(stages.a(at.stage), a_map, window, tap.col * part.cols.step, tap.row * part.rows.step, full);
        copy_weights(stages.b(at.stage), b_map, origin.col, tap.channel, tap.tap(), full);
      }
    }
    return work.passed(gemm);
  });
}

__device__ __forceinline__ void consume(const Stages& stages, const ImageMaps& a_maps, const Conv& conv) {
  const int consumer = warpgroup() - 1, warp = threadIdx.x / 32 % 4;
  Place<STAGES> at;
  for_each_class(a_maps, conv, [&](const TensorMap*, const Class& part, const Product& gemm, int first) {
    Pieces work(gemm, first);
    for (; work.left(gemm); work.advance()) {
      const TileOrigin origin = work.origin(gemm);
      const int split = work.split(gemm);
      const Depth depth = depth_of(gemm, split);
      float sums[1][TILE_N / 8][4] = {};
      multiply<true, true, B_K>(sums[0], stages, at, (depth.stop - depth.first) / TILE_K, consumer * GROUP_M);
      const int group_row = origin.row + consumer * GROUP_M, row = group_row + warp * WARP_M;
      const TileColumns columns(stages.behind() + consumer * TileColumns::FLOATS, 1 + consumer, gemm.m - group_row);
#if SCATTER
      finish_fragments(gemm, 0, split, row, origin.col, sums, PlacesInOut<Input, Output>{conv, part}, columns);
#else
      finish_fragments(gemm, 0, split, row, origin.col, sums, Straight(), columns);
#endif
    }
    return work.passed(gemm);
  });
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
conv2d_wgmma(const __grid_constant__ ImageMaps a_maps, const __grid_constant__ TensorMap b_map,
             const __grid_constant__ Conv conv) {
  DYNAMIC_SHARED(shared);
  const Stages stages(shared);
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&a_maps.of[0]);
    prefetch_tensor_map(&b_map);
  }
  run_warpgroups(
      stages, 4 * CONSUMERS, [&] { produce(stages, a_maps, b_map, conv); },
      [&] { consume(stages, a_maps, conv); });
}

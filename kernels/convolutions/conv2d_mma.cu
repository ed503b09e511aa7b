// Convolution on tensor cores, sm_80 and later: a product whose factor A is gathered while it is multiplied
// Arch: sm_80
// Shapes: x (N, H, W, C), w (KH, KW, C / G, O), y, dy (N, OH, OW, O); CONVOLUTION 0: y of x and w, 1: dx of dy and w, 2: dw
//     of x and dy. See convolutions/convolution.cuh.
// Types: INPUT_BF16, OUTPUT_BF16 of products/types.cuh. ELEMENTWISE 0: a group's channels of the gathered images (for dx: of w
//     too) are whole chunks of 16 bytes, aligned; 1: any.
// Launch: grid (tiles of a group of the largest class, splits, classes groups), THREADS per block, SHARED_BYTES dynamic
//     shared memory; slabs of WARP_M
// Roofline: 2 N OH OW O KH KW C / G operations for x, w and y once, of 4 or 2 bytes; 3 x 3 is compute-bound from about 64
//     channels up. Oracle: ops/conv2d_im2col.py. Source: Chetlur et al. 2014, "cuDNN: efficient primitives for deep
//     learning"; CUTLASS, "Implicit GEMM convolution".
#ifndef TILE_M
#define TILE_M 128
#define TILE_N 128
#define WARP_M 64
#define WARP_N 32
#endif
#ifndef STAGES
#define STAGES 3
#endif
#ifndef ELEMENTWISE
#define ELEMENTWISE 0
#endif
#define THREADS (TILE_M / WARP_M * (TILE_N / WARP_N) * 32)
#define SHARED_BYTES (STAGES * (TILE_M + TILE_N) * 128)

#include "convolutions/gather.cuh"
#include "products/mma_tiles.cuh"

// Starts to copy tiles of a gathered factor. A copy is 16 bytes of a place at a step, or zeros where the image has no
// such pixel: then its address, which may be anything, is not read (PTX ISA, cp.async: src-size 0).
template <int EXTENT, bool K_CONTIGUOUS, class Source>
class GatherLoader : Copies<EXTENT, K_CONTIGUOUS> {
  using Base = Copies<EXTENT, K_CONTIGUOUS>;
  using typename Base::Tile;
  using Base::across, Base::along, Base::APART, Base::COPIES;

 public:
  __device__ __forceinline__ GatherLoader(const Source& source, int first)
      : source_(source), to_(Tile::offset(across(), along())) {
    if (K_CONTIGUOUS) {
#pragma unroll
      for (int i = 0; i < COPIES; i++) {
        place_[i] = source.place(first + across() + i * APART);
        keep(place_[i].from);
      }
    } else {
      find_steps(first);
    }
  }

  // The tile that begins at k. Elements one by one are all on their way before the first is stored.
  __device__ __forceinline__ void fetch(unsigned char* tile, int k) {
    if (K_CONTIGUOUS) find_steps(k);
#if ELEMENTWISE
    Vec<Input, CHUNK> chunk[COPIES] = {};
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
      const Place<Input> place = place_of(i, k);
#pragma unroll
      for (int j = 0; j < CHUNK; j++)
        if (source_.holds(place, step_[j])) chunk[i].at[j] = place.from[step_[j].elements];
    }
#pragma unroll
    for (int i = 0; i < COPIES; i++) store<CHUNK>(reinterpret_cast<Input*>(to(tile, i)), chunk[i], CHUNK, true);
#else
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
      const Place<Input> place = place_of(i, k);
      copy16_async(to(tile, i), place.from + step_[0].elements, source_.holds(place, step_[0]) ? CHUNK_BYTES : 0);
    }
#endif
  }

 private:
  static constexpr int PARTS = ELEMENTWISE ? CHUNK : 1;  // of a chunk, each with a step of its own

  const Source source_;
  const int to_;  // bytes from the beginning of a tile
  Place<Input> place_[K_CONTIGUOUS ? COPIES : 1];
  Step step_[PARTS];

  __device__ __forceinline__ void find_steps(int first) {
#pragma unroll
    for (int j = 0; j < PARTS; j++) step_[j] = source_.step(first + along() * CHUNK + j);
  }

  __device__ __forceinline__ Place<Input> place_of(int i, int k) const {
    if (K_CONTIGUOUS) return place_[i];
    Place<Input> place = source_.place(k + across() + i * APART);
    if (ELEMENTWISE) keep(place.from);  // so that each element's address is one addition
    return place;
  }

  __device__ __forceinline__ unsigned char* to(unsigned char* tile, int i) const {
    return tile + to_ + i * APART * Tile::ROW_BYTES;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) conv2d_mma(const Convolution<Input, Output> conv) {
  DYNAMIC_SHARED(stages);
  const Class part = class_of(conv, blockIdx.z);
  const Gemm<Input, Output> gemm = product_of(conv, part);
  const TileOrigin origin = tile_origin<TILE_M, TILE_N>(blockIdx.x, gemm.m, gemm.n);
  if (origin.row >= gemm.m) return;  // a class that is smaller than another
  const int warp = threadIdx.x / 32;
  const int row = warp / (TILE_N / WARP_N) * WARP_M, col = warp % (TILE_N / WARP_N) * WARP_N;
  const Depth depth = depth_of(gemm, blockIdx.y);
  const int num_tiles = (depth.stop - depth.first + TILE_K - 1) / TILE_K;
  const Input* const b = gemm.b + part.group * gemm.b_batch;
  const Pixels<Input, Output> pixels = {conv, part, gemm.a + part.group * gemm.a_batch,
                                        TRANSPOSE_A ? depth.stop : gemm.m, TRANSPOSE_A ? gemm.m : depth.stop};
  GatherLoader<TILE_M, !TRANSPOSE_A, Pixels<Input, Output>> a_loader(pixels, origin.row);
  const ReaderA a_reader(row);
  const ReaderB b_reader(col);
  Sums sums = {};

#if CONVOLUTION == CONVOLUTION_DX
  const Filters<Input, Output> filters = {conv, part, b, gemm.n, depth.stop};
  GatherLoader<TILE_N, true, Filters<Input, Output>> b_loader(filters, origin.col);
  multiply_tiles(sums, stages, num_tiles, a_reader, b_reader, [&](unsigned char* stage, int tile) {
    a_loader.fetch(stage, depth.first + tile * TILE_K);
    b_loader.fetch(stage + A_BYTES, depth.first + tile * TILE_K);
  });
  const PlacesInOut<Input, Output> places = {conv, part};
  finish_fragments(gemm, part.group, blockIdx.y, origin.row + row, origin.col + col, sums, places);
#else
  const int num_plain = rows_aligned<CHUNK>(b, gemm.b_ld) ? (depth.stop - depth.first) / TILE_K : 0;
  LoaderB b_loader(b, gemm.b_ld, origin.col, depth.first, gemm.n);
  multiply_tiles(sums, stages, num_tiles, a_reader, b_reader, [&](unsigned char* stage, int tile) {
    const int k0 = depth.first + tile * TILE_K;
    a_loader.fetch(stage, k0);
    if (tile < num_plain)
      b_loader.fetch(stage + A_BYTES, tile * TILE_K);
    else
      LoaderB::fetch_any(stage + A_BYTES, b, gemm.b_ld, origin.col, k0, gemm.n, depth.stop);
  });
  finish_fragments(gemm, part.group, blockIdx.y, origin.row + row, origin.col + col, sums);
#endif
}

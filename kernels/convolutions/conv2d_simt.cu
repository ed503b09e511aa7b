// Convolution in fp32 on ordinary cores, any arch: a product whose factor A is gathered while it is multiplied
// Shapes: x (N, H, W, C), w (KH, KW, C / G, O), y, dy (N, OH, OW, O); CONVOLUTION 0: y of x and w, 1: dx of dy and w, 2: dw
//     of x and dy. See convolutions/convolution.cuh.
// Launch: grid (tiles of a group of the largest class, splits, classes groups), THREADS per block; slabs of WARP_M
// Roofline: 2 N OH OW O KH KW C / G operations for x, w and y once; compute-bound, but for 1 x 1 of few channels.
// Oracle: ops/conv2d_im2col.py. Source: Chetlur et al. 2014, "cuDNN: efficient primitives for deep learning".
#ifndef TILE_M
#define TILE_M 128
#define TILE_N 64
#define TILE_K 8
#define WARP_M 64
#define WARP_N 32
#endif
#ifndef MIN_BLOCKS
#define MIN_BLOCKS 2
#endif
#define THREADS (TILE_M / WARP_M * (TILE_N / WARP_N) * 32)

#include "convolutions/gather.cuh"
#include "products/simt_tiles.cuh"

// Brings tiles of a gathered factor: pieces of 4 neighbors in memory where a group's channels are whole pieces, else
// element by element.
template <int EXTENT, bool K_CONTIGUOUS, class Source>
class GatherLoader : public Held<EXTENT, K_CONTIGUOUS> {
  using Base = Held<EXTENT, K_CONTIGUOUS>;
  using Base::across, Base::along, Base::held_, Base::LOADS, Base::APART;

 public:
  __device__ __forceinline__ GatherLoader(const Source& source, int first, bool by_pieces)
      : source_(source), first_(first), by_pieces_(by_pieces) {
    if (K_CONTIGUOUS) {
#pragma unroll
      for (int i = 0; i < LOADS; i++) place_[i] = source.place(first + across() + i * APART);
    } else {
      step_ = source.step(first + along());
    }
  }

  __device__ __forceinline__ void fetch(int k0) {
    const int col = K_CONTIGUOUS ? k0 + along() : first_ + along();
    const Step step = K_CONTIGUOUS ? source_.step(col) : step_;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      const Place<float> place = K_CONTIGUOUS ? place_[i] : source_.place(k0 + across() + i * APART);
      if (by_pieces_) {
        held_[i] = load<PIECE>(place.from + step.elements, source_.holds(place, step) ? PIECE : 0, true);
        continue;
      }
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        const Step each = source_.step(col + j);
        held_[i].at[j] = source_.holds(place, each) ? place.from[each.elements] : 0;
      }
    }
  }

 private:
  const Source source_;
  const int first_;
  const bool by_pieces_;
  Place<float> place_[K_CONTIGUOUS ? LOADS : 1];
  Step step_;  // used where k is not contiguous
};

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) conv2d_simt(const Convolution<float, float> conv) {
  __shared__ __align__(16) LoaderA::Tile a_tiles[2];
  __shared__ __align__(16) LoaderB::Tile b_tiles[2];
  const Class part = class_of(conv, blockIdx.z);
  const Gemm<float, float> gemm = product_of(conv, part);
  const TileOrigin origin = tile_origin<TILE_M, TILE_N>(blockIdx.x, gemm.m, gemm.n);
  if (origin.row >= gemm.m) return;  // a class that is smaller than another
  const LanePlace at;
  const Depth depth = depth_of(gemm, blockIdx.y);
  const float* const a = gemm.a + part.group * gemm.a_batch;
  const float* const b = gemm.b + part.group * gemm.b_batch;
  const bool by_pieces = rows_aligned<PIECE>(a, conv.channels) && conv.depth % PIECE == 0;
  const Pixels<float, float> pixels = {conv, part, a, TRANSPOSE_A ? depth.stop : gemm.m,
                                       TRANSPOSE_A ? gemm.m : depth.stop};
  GatherLoader<TILE_M, !TRANSPOSE_A, Pixels<float, float>> a_loader(pixels, origin.row, by_pieces);
#if CONVOLUTION == CONVOLUTION_DX
  const Filters<float, float> filters = {conv, part, b, gemm.n, depth.stop};
  const bool b_by_pieces = rows_aligned<PIECE>(b, gemm.b_ld) && conv.depth % PIECE == 0;
  GatherLoader<TILE_N, true, Filters<float, float>> b_loader(filters, origin.col, b_by_pieces);
#else
  LoaderB b_loader(b, gemm.b_ld, origin.col, gemm.n, depth.stop);
#endif
  Sums sums = {};

  multiply_tiles(sums, a_loader, b_loader, a_tiles, b_tiles, depth, at.row, at.col);
  const int warp_row = origin.row + at.warp_row, row = origin.row + at.row, col = origin.col + at.col;
#if CONVOLUTION == CONVOLUTION_DX
  finish_pieces(gemm, part.group, blockIdx.y, warp_row, row, col, sums, PlacesInOut<float, float>{conv, part});
#else
  finish_pieces(gemm, part.group, blockIdx.y, warp_row, row, col, sums);
#endif
}

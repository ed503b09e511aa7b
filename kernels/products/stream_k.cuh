// The work of persistent blocks, or clusters of them, where K is cut so that all of them finish together: stream-K.
// Source: Osama et al. 2023, "Stream-K: Work-centric Parallel Decomposition for Dense Matrix-Matrix Multiplication".
//
// A cluster takes item after item. First come `whole` tiles, as many for each cluster, through all of K. K of the other
// tiles, which are fewer than clusters, is cut: `parts` parts of `depth` steps each, and the `tail` of K that is left
// over. All tails, end to end, are a stream, and the clusters that have no part of their own take equal shares of it.
//
//     K    0      depth    2 depth  tail
//          |--------|--------|------|          parts 2: two clusters for each tile, and for all tails a few clusters
//
// Parts begin together and are equally long, so that clusters read the same k at the same time, from the L2 cache. So
// they do in the stream: a share ends within a tail, and begins with that piece, at the first step of the tail like all
// the others; the pieces before it follow, last to first. (From front to back each share would begin at another k.)
//
// Sums over pieces of K are kept in `partials` as the lanes of wgmma hold them, 16 rows x 8 columns after another:
//     partials (planes, shared, tile_m / 16, tile_n / 8, 32, 4)
// and gemm_sum_stream.cu adds the planes of each tile in the order of K. So no block waits for another, and the bits of
// the result depend on neither the order nor the number of blocks that run.
#pragma once
#include "common/vec.cuh"
#include "products/gemm.cuh"

struct StreamK {
  int whole, shared;  // tiles, of all matrices of the batch
  int parts, depth;   // depth, tail and share: in steps of K
  int tail;           // parts * depth + tail = ceil(K / STEP)
  int share;          // of the stream; 0 where tail is 0
  int items;          // whole + shared * parts + ceil(shared * tail / share)
  int tile_m, tile_n;  // of a cluster

  static constexpr int STEP = 64;

  // The share of the stream in which the tail of shared tile `slot` begins.
  __device__ __forceinline__ int first_share(int slot) const { return slot * tail / share; }
  // The pieces into which K of that tile is cut.
  __device__ __forceinline__ int planes(int slot) const {
    return tail ? parts + ((slot + 1) * tail - 1) / share - first_share(slot) + 1 : parts;
  }
};

// Where this lane keeps its four sums of a strip of 16 rows and a group of 8 columns of a tile.
constexpr int STRIP_ROWS = 16, GROUP_COLUMNS = 8, FRAGMENT = 4 * 32;

__device__ __forceinline__ long long partial_at(const StreamK& stream, int plane, int slot, int strip, int group) {
  const long long tile = (long long)plane * stream.shared + slot;
  const long long place = (tile * (stream.tile_m / STRIP_ROWS) + strip) * (stream.tile_n / GROUP_COLUMNS) + group;
  return place * FRAGMENT + threadIdx.x % 32 * 4;
}

// A tile, or a part of its K.
struct StreamPiece {
  int tile;
  int plane, slot;  // in partials; plane -1: all of K
  Depth depth;
};

template <int BLOCKS>
class StreamWork {
 public:
  __device__ __forceinline__ explicit StreamWork(const StreamK& stream) : number(blockIdx.x / BLOCKS) { enter(stream); }
  __device__ __forceinline__ bool left(const StreamK& stream) const { return number < stream.items; }
  __device__ __forceinline__ void advance(const StreamK& stream) {
    if (share_of(stream) >= 0 && first(stream) > share_of(stream) * stream.share) {
      stop = first(stream);
      return;
    }
    number += gridDim.x / BLOCKS;
    enter(stream);
  }
  __device__ __forceinline__ StreamPiece piece(const StreamK& stream, int k) const {
    if (number < stream.whole) return {number, -1, 0, {0, k}};
    const int share = share_of(stream), part = number - stream.whole;
    if (share < 0) {
      const int plane = part / stream.shared, slot = part % stream.shared;
      return {stream.whole + slot, plane, slot, depth(plane * stream.depth, (plane + 1) * stream.depth, k)};
    }
    const int slot = (stop - 1) / stream.tail, before = stream.parts * stream.depth - slot * stream.tail;
    return {stream.whole + slot, stream.parts + share - stream.first_share(slot), slot,
            depth(before + first(stream), before + stop, k)};
  }

 private:
  int number;
  int stop = 0;  // in the stream: the end of the piece

  __device__ __forceinline__ int share_of(const StreamK& stream) const {
    return number - stream.whole - stream.shared * stream.parts;
  }
  // The beginning of the piece: that of the share, or of the tail.
  __device__ __forceinline__ int first(const StreamK& stream) const {
    return max(share_of(stream) * stream.share, (stop - 1) / stream.tail * stream.tail);
  }
  __device__ __forceinline__ void enter(const StreamK& stream) {
    if (share_of(stream) >= 0) stop = min((share_of(stream) + 1) * stream.share, stream.shared * stream.tail);
  }
  static __device__ __forceinline__ Depth depth(int first, int stop, int k) {
    return {first * StreamK::STEP, (int)min((long long)stop * StreamK::STEP, (long long)k)};
  }
};

// Keep the sums of a warp: SLABS strips that are 64 rows apart.
template <int SLABS, int GROUPS>
__device__ __forceinline__ void keep_partials(float* partials, const StreamK& stream, const StreamPiece& piece,
                                              int strip, const float (&sums)[SLABS][GROUPS][4]) {
#pragma unroll
  for (int slab = 0; slab < SLABS; slab++) {
    float* to = partials + partial_at(stream, piece.plane, piece.slot, strip + slab * (64 / STRIP_ROWS), 0);
#pragma unroll
    for (int group = 0; group < GROUPS; group++) {
      const float(&x)[4] = sums[slab][group];
      *reinterpret_cast<Vec<float, 4>*>(to + group * FRAGMENT) = {x[0], x[1], x[2], x[3]};
    }
  }
}

// The work of persistent blocks, or clusters of them: piece by piece, each a tile (for each block), a part of K, a
// matrix of the batch. The blocks of a cluster have tiles one below the other. Where there are several products, the
// number of the first piece of the next is what the last has left over: passed().
#pragma once
#include "common/ptx/cluster.cuh"
#include "products/gemm.cuh"

template <int ROWS, int COLS, int BLOCKS>
struct Work {
  int number, tiles;

  template <class Input, class Output>
  __device__ __forceinline__ explicit Work(const Gemm<Input, Output>& gemm, int first = blockIdx.x / BLOCKS)
      : number(first),
        tiles(((gemm.m + BLOCKS * ROWS - 1) / (BLOCKS * ROWS)) * ((gemm.n + COLS - 1) / COLS)) {}
  template <class Input, class Output>
  __device__ __forceinline__ bool left(const Gemm<Input, Output>& gemm) const {
    return number < tiles * gemm.splits * gemm.batch;
  }
  template <class Input, class Output>
  __device__ __forceinline__ int passed(const Gemm<Input, Output>& gemm) const {
    return number - tiles * gemm.splits * gemm.batch;
  }
  __device__ __forceinline__ void advance() { number += gridDim.x / BLOCKS; }
  template <class Input, class Output>
  __device__ __forceinline__ int split(const Gemm<Input, Output>& gemm) const {
    return number / tiles % gemm.splits;
  }
  template <class Input, class Output>
  __device__ __forceinline__ int index(const Gemm<Input, Output>& gemm) const {
    return number / tiles / gemm.splits;
  }
  template <class Input, class Output>
  __device__ __forceinline__ TileOrigin origin(const Gemm<Input, Output>& gemm) const {
    TileOrigin at = tile_origin<BLOCKS * ROWS, COLS>(number % tiles, gemm.m, gemm.n);
    if (BLOCKS > 1) at.row += rank_in_cluster() * ROWS;
    return at;
  }
};

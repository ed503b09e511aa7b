// Bulk tensor copies (TMA, sm_90): one thread requests a box of a matrix, and the hardware copies it to shared memory,
// swizzled, with zeros where the box hangs over the edge, and counts its bytes at an mbarrier.
// The map, made on the host by cuTensorMapEncodeTiled, describes the matrix and the box: here dims are
// (along a row, row, matrix of the batch), a row of the box is 128 bytes, and 16-byte pieces of it are permuted by the
// row's number: piece p of row r is stored at p ^ r % 8. PTX ISA, "cp.async.bulk.tensor".
#pragma once
#include "mbarrier.cuh"

#ifdef CUDA_ON_CPU
using on_cpu::TensorMap;
#else
struct alignas(64) TensorMap {
  unsigned char opaque[128];
};
#endif

__device__ __forceinline__ void prefetch_tensor_map(const TensorMap* map) {
#ifndef CUDA_ON_CPU
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#else
  (void)map;
#endif
}

__device__ __forceinline__ void tensor_copy(void* to, const TensorMap* map, int x, int y, int z, Barrier* barrier) {
#ifdef CUDA_ON_CPU
  on_cpu::start_tensor_copy(to, map, 3, {x, y, z, 0}, barrier, 1u << on_cpu::block.current->cta);
#else
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];"
      ::"r"(shared_address(to)), "l"(map), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier))
      : "memory");
#endif
}

// A box of a map of four dims: (along a row, row, matrix, batch of them), such as (element, token, head, sample).
__device__ __forceinline__ void tensor_copy(void* to, const TensorMap* map, int x, int y, int z, int w,
                                            Barrier* barrier) {
#ifdef CUDA_ON_CPU
  on_cpu::start_tensor_copy(to, map, 4, {x, y, z, w}, barrier, 1u << on_cpu::block.current->cta);
#else
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(shared_address(to)),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(w), "r"(shared_address(barrier))
      : "memory");
#endif
}

// The same box to the same place in each block of the cluster whose bit is set, counted at the barrier of each.
__device__ __forceinline__ void tensor_copy_multicast(void* to, const TensorMap* map, int x, int y, int z,
                                                      Barrier* barrier, unsigned short blocks) {
#ifdef CUDA_ON_CPU
  on_cpu::start_tensor_copy(to, map, 3, {x, y, z, 0}, barrier, blocks);
#else
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(shared_address(to)),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier)), "h"(blocks)
      : "memory");
#endif
}

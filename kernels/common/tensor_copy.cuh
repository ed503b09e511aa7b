// Bulk tensor copies (TMA, sm_90): one thread requests a box of a matrix, and the hardware copies it to shared memory,
// swizzled, with zeros where the box hangs over the edge, and counts its bytes at an mbarrier.
// The map, made on the host by cuTensorMapEncodeTiled, describes the matrix and the box: here dims are
// (along a row, row, matrix of the batch), a row of the box is 128 bytes, and 16-byte pieces of it are permuted by the
// row's number: piece p of row r is stored at p ^ r % 8. PTX ISA, "cp.async.bulk.tensor".
//
// The way back, tensor_store: threads write shared memory, each calls fence_async(), they meet at a barrier, and one of
// them issues the stores and commits them as a group. It waits (tensor_stores_read) before that memory is written again.
// What lies outside of the matrix is not written.
#pragma once
#include "async_proxy.cuh"
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
  on_cpu::start_tensor_copy(to, map, x, y, z, barrier, 1u << on_cpu::block.current->cta);
#else
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];"
      ::"r"(shared_address(to)), "l"(map), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier))
      : "memory");
#endif
}

// The same box to the same place in each block of the cluster whose bit is set, counted at the barrier of each.
__device__ __forceinline__ void tensor_copy_multicast(void* to, const TensorMap* map, int x, int y, int z,
                                                      Barrier* barrier, unsigned short blocks) {
#ifdef CUDA_ON_CPU
  on_cpu::start_tensor_copy(to, map, x, y, z, barrier, blocks);
#else
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(shared_address(to)),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(shared_address(barrier)), "h"(blocks)
      : "memory");
#endif
}

// A box of shared memory, in the layout of tensor_copy, to the matrix.
__device__ __forceinline__ void tensor_store(const TensorMap* map, int x, int y, int z, const void* from) {
#ifdef CUDA_ON_CPU
  on_cpu::start_tensor_store(map, x, y, z, from);
#else
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(map),
               "r"(x), "r"(y), "r"(z), "r"(shared_address(from))
               : "memory");
#endif
}

// The stores of this thread since the last commit are a group.
__device__ __forceinline__ void commit_tensor_stores() {
#ifdef CUDA_ON_CPU
  on_cpu::commit_tensor_stores();
#else
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}

// Wait until at most PENDING of this thread's newest groups still read shared memory. A thread that stored does it with
// 0 before it ends: the memory is the block's only as long as the block lives.
template <int PENDING>
__device__ __forceinline__ void tensor_stores_read() {
#ifdef CUDA_ON_CPU
  on_cpu::wait_tensor_stores(PENDING);
#else
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(PENDING) : "memory");
#endif
}

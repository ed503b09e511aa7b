// Bulk tensor copies (TMA, sm_90): one thread requests a box of a matrix, and the hardware copies it to shared memory,
// swizzled, with zeros where the box hangs over the edge, and counts its bytes at an mbarrier.
// The map, made on the host by cuTensorMapEncodeTiled, describes the matrix and the box: here dims are
// (along a row, row, matrix of the batch), a row of the box is 128 bytes, and 16-byte pieces of it are permuted by the
// row's number: piece p of row r is stored at p ^ r % 8. PTX ISA, "cp.async.bulk.tensor".
//
// A map that cuTensorMapEncodeIm2col has made describes images (channels, width, height, images) and the windows of a
// convolution: their first taps go from corner to corner of a bounding box, in steps of the stride, line after line and
// image after image. A row of the box are 128 bytes of channels of one pixel, and there is a pixel for each of so many
// windows from the first on: that under the tap which is `offset` away from the first. PTX ISA, "im2col mode".
//
// The way back, tensor_store: threads write shared memory, each calls fence_async(), they meet at a barrier, and one of
// them issues the stores and commits them as a group. It waits (tensor_stores_read) before that memory is written
// again. What lies outside of the matrix is not written.
#pragma once
#include "common/ptx/async_proxy.cuh"
#include "common/ptx/mbarrier.cuh"

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

// Where a copy of im2col begins.
struct FirstWindow {
  int channel, w, h, image;  // w, h: the place of the first tap, in the bounding box; it may be in the padding
};

// The pixels under one tap, whose offsets (dilation counted) are from 0 to 255.
__device__ __forceinline__ void im2col_copy(void* to, const TensorMap* map, const FirstWindow& at, int offset_w,
                                            int offset_h, Barrier* barrier) {
#ifdef CUDA_ON_CPU
  on_cpu::start_im2col_copy(to, map, {at.channel, at.w, at.h, at.image}, offset_w, offset_h, barrier,
                            1u << on_cpu::block.current->cta);
#else
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(shared_address(to)),
      "l"(map), "r"(at.channel), "r"(at.w), "r"(at.h), "r"(at.image), "r"(shared_address(barrier)),
      "h"(static_cast<unsigned short>(offset_w)), "h"(static_cast<unsigned short>(offset_h))
      : "memory");
#endif
}

// The same pixels to the same place in each block of the cluster whose bit is set, counted at the barrier of each.
__device__ __forceinline__ void im2col_copy_multicast(void* to, const TensorMap* map, const FirstWindow& at,
                                                      int offset_w, int offset_h, Barrier* barrier,
                                                      unsigned short blocks) {
#ifdef CUDA_ON_CPU
  on_cpu::start_im2col_copy(to, map, {at.channel, at.w, at.h, at.image}, offset_w, offset_h, barrier, blocks);
#else
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3, %4, %5}], [%6], {%7, %8}, %9;" ::"r"(shared_address(to)),
      "l"(map), "r"(at.channel), "r"(at.w), "r"(at.h), "r"(at.image), "r"(shared_address(barrier)),
      "h"(static_cast<unsigned short>(offset_w)), "h"(static_cast<unsigned short>(offset_h)), "h"(blocks)
      : "memory");
#endif
}

// A box of shared memory, in the layout of tensor_copy, to the matrix.
__device__ __forceinline__ void tensor_store(const TensorMap* map, int x, int y, int z, const void* from) {
#ifdef CUDA_ON_CPU
  on_cpu::start_tensor_store(map, 3, {x, y, z, 0}, from);
#else
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(map),
               "r"(x), "r"(y), "r"(z), "r"(shared_address(from))
               : "memory");
#endif
}

// The same by a map of four dims.
__device__ __forceinline__ void tensor_store(const TensorMap* map, int x, int y, int z, int w, const void* from) {
#ifdef CUDA_ON_CPU
  on_cpu::start_tensor_store(map, 4, {x, y, z, w}, from);
#else
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(map),
               "r"(x), "r"(y), "r"(z), "r"(w), "r"(shared_address(from))
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

// What Hopper does beside its threads: mbarriers, tensor copies (TMA) and matrix products of a warpgroup (wgmma).
//
// Undefined here means wrong or refused there:
// - the target of a tensor copy is NaN from its issue to its landing, which comes at a moment drawn at random: in some
//   blocks soon, in others only when all threads wait, and in some the oldest last;
// - the sums of wgmma are NaN from its issue to the wait that covers it. Its factors are read at the one or the other,
//   drawn at random: a stage that has not landed yet, or is given back too early, spoils the result;
// - an mbarrier that is used before it was initialised and fenced, or gets more arrivals than it counts, ends the launch;
// - so does wgmma without a fence since the last wait, or whose registers (those on the stack: its sums unless they are
//   under way, and A) are not as they were at that fence; with descriptors that its warp or warpgroup does not share,
//   that reach beyond the shared memory, or whose layout is not a swizzle of 128 bytes; and a tensor copy or store whose
//   place is not aligned for that swizzle, or whose map has another number of dims, or (im2col) whose first window is
//   not in the bounding box;
// - so does a tensor copy to bytes that a thread wrote and did not fence, to those of another one under way, or to a
//   block that has ended; and registers (setmaxnreg) that the other warps of the block have not given;
// - tensor stores and wgmma read shared memory as it was at the last fence_async(), or landing of a copy: bytes that a
//   thread wrote after it are NaN to them. PTX wants the fence of the thread that wrote. Here that of any will do the
//   first time; where a thread names the same bytes again, its fence is for those that it has written itself.
// - A store reads its box at the wait for it: bytes that have changed since its issue are NaN. It is in memory when the
//   launch has ended, since that wait says nothing of it.
#pragma once
#include "block.h"

#pragma GCC visibility push(default)
namespace on_cpu {

constexpr size_t SHARED_APART = 256 << 10;  // bytes between the shared memories of a cluster: 18 bits of address
constexpr size_t SHARED_FIRST = 128;        // a kernel may not count on more alignment than this

// The parameters of cuTensorMapEncodeTiled, in its place: tiles of three or four dims, the innermost first. Of three,
// the fourth has one element. Or those of cuTensorMapEncodeIm2col: images (channels, width, height, images), and a box of
// channels and pixels.
struct TensorMap {
  const char* base;
  uint64_t size[4], stride[4];  // elements, and bytes from one to the next
  uint32_t box[4], element_bytes, rank;
  int32_t im2col;              // 1: the fields below count, each for width and height
  int32_t lower[2], upper[2];  // where the first tap of a window may lie: from lower to size - 1 + upper
  int32_t step[2];             // from one window to the next
};

// The same place in the shared memory of another block of the cluster.
inline char* in_cta(const void* shared, unsigned cta) {
  return static_cast<char*>(const_cast<void*>(shared)) + (long(cta) - block.current->cta) * long(SHARED_APART);
}

void mbarrier_init(void* at, int count);
void fence_mbarriers();
void mbarrier_arrive(const void* at, int bytes);
void mbarrier_wait(const void* at, unsigned parity);
void start_tensor_copy(void* to, const TensorMap* map, unsigned rank, const int (&first)[4], void* barrier,
                       unsigned ctas);
void start_im2col_copy(void* to, const TensorMap* map, const int (&first)[4], int offset_w, int offset_h, void* barrier,
                       unsigned ctas);
void fence_registers();
void fence_async();
void fence_async(const void* written, size_t bytes);
void start_tensor_store(const TensorMap* map, unsigned rank, const int (&first)[4], const void* from);
void commit_tensor_stores();
void wait_tensor_stores(int pending);  // do the stores of all committed groups except the newest `pending`
// rows: this lane's part of A, in place of the descriptor a; or null.
void start_product(uint64_t a, const unsigned* rows, uint64_t b, bool a_k_contiguous, bool b_k_contiguous, bool add,
                   bool is_bf16, float* sums, int columns);
void commit_products();
void wait_products(int pending);  // finish the products of all committed groups except the newest `pending`

}  // namespace on_cpu
#pragma GCC visibility pop

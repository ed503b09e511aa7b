// The parts of attention backward on Hopper that both of its kernels have: rings of pairs of tiles, the roles of warps.
//
//     p = exp(scale q k^T - log_sum_exp),  ds = p (dy v^T - delta),  dv = p^T dy,  dk = scale ds^T q,  dq = scale ds k
//
// A consumer owns 64 keys (attention_wgmma_dkv) or queries (attention_wgmma_dq), whose sums stay in its registers, and
// goes through tiles of others. Scores are computed with its own rows in rows, so p^T and ds^T (dkv) or ds (dq) are in
// the layout of a factor A. Tensor cores stay busy while exponentials are taken: the products of a tile are issued as
// soon as what they need is there, and those of the next begin when the last of this one may still be under way.
// (With sums of dq by atomics one kernel with 5 products of a tile would do for these two with 4 and 3; but its bits
// would change from run to run.)
#pragma once
#include "attention/attention_wgmma.cuh"

#ifndef STAGES
#define STAGES (HEAD_SIZE > 64 ? 2 : 4)
#endif
#define CONSUMERS 2
#define OWN_ROWS (64 * CONSUMERS)
#define THREADS (128 * (CONSUMERS + 1))

// The tiles of a block: pairs of its own rows and of others, and with STATISTICS two numbers for each of the others.
template <int OWN_STAGES, int OTHER_ROWS, int STATISTICS>
struct Rings {
  using Own = TileRing<OWN_ROWS, OWN_STAGES>;
  using Other = TileRing<OTHER_ROWS, STAGES>;
  static constexpr int TILES = 2 * OWN_STAGES * Own::BYTES + 2 * STAGES * Other::BYTES;
  static constexpr int NUMBERS = STATISTICS * STAGES * OTHER_ROWS;
  static constexpr int BYTES = 1024 + TILES + 4 * NUMBERS + 2 * 8 * (2 * OWN_STAGES + 2 * STAGES);
  static_assert(BYTES <= 227 * 1024, "a block has at most 227 KB of shared memory");
  Own own, own_too;
  Other other, other_too;
  float* numbers;

  __device__ __forceinline__ explicit Rings(unsigned char* tiles)
      : own(tiles, barriers(tiles)),
        own_too(tiles + OWN_STAGES * Own::BYTES, barriers(tiles) + 2 * OWN_STAGES),
        other(tiles + 2 * OWN_STAGES * Own::BYTES, barriers(tiles) + 4 * OWN_STAGES),
        other_too(tiles + TILES - STAGES * Other::BYTES, barriers(tiles) + 4 * OWN_STAGES + 2 * STAGES),
        numbers(reinterpret_cast<float*>(tiles + TILES)) {}
  __device__ __forceinline__ void init() const {
    own.init(1, 4 * CONSUMERS);
    own_too.init(1, 4 * CONSUMERS);
    other.init(STATISTICS ? 1 + 32 : 1, 4 * CONSUMERS);
    other_too.init(1, 4 * CONSUMERS);
    barrier_init_fence();
  }
  // The numbers of a tile of `other`: one for each row, then the second ones.
  __device__ __forceinline__ float* statistics() const { return numbers + other.stage * STATISTICS * OTHER_ROWS; }
  __device__ __forceinline__ void pass_over(int count) {
    for (; count > 0; count--) {
      other.pass_over();
      other_too.pass_over();
    }
  }

 private:
  static __device__ __forceinline__ Barrier* barriers(unsigned char* tiles) {
    return reinterpret_cast<Barrier*>(tiles + TILES + 4 * NUMBERS);
  }
};
struct Maps {
  const TensorMap &own, &own_too, &other, &other_too;
};

// log2 of a query's sum of exponentials; infinite, so that all probabilities are 0, where it sees nothing or is none.
__device__ __forceinline__ float logarithm_of(const float* log_sum_exp, int query, int count) {
  const float natural = query < count ? log_sum_exp[query] : -infinity();
  return natural == -infinity() ? infinity() : natural * LOG2_E;
}

// The life of a block: `producers` lanes of the first warp call produce(), all other warpgroups consume().
template <class AllRings, class Produce, class Consume>
__device__ __forceinline__ void run_roles(const AllRings& rings, const Maps& maps, int producers, Produce produce,
                                          Consume consume) {
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&maps.own);
    prefetch_tensor_map(&maps.own_too);
    prefetch_tensor_map(&maps.other);
    prefetch_tensor_map(&maps.other_too);
    rings.init();
  }
  __syncthreads();
  if (threadIdx.x < WARPGROUP) {
    registers_give<24>();
    if (int(threadIdx.x) < producers) produce();
  } else {
    registers_take<240>();
    consume();
  }
}

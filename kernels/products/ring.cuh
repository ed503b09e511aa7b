// The ring of stages through which a producer, one thread that requests tensor copies, passes tiles of A and B to
// consumers, warpgroups that multiply them (sm_90a). Two mbarriers per stage pass it on: `full` changes phase when its
// bytes have arrived, `empty` when every warp that reads it has done so. In a cluster a copy may go to all blocks, so
// all of them say when a stage is empty. (Template parameters have other names than the macros of kernels.)
#pragma once
#include "common/ptx/cluster.cuh"
#include "common/ptx/mbarrier.cuh"
#include "common/ptx/wgmma.cuh"

constexpr int ROW_BYTES = 128;   // of a box, as the swizzle requires
constexpr int STEP_BYTES = 32;   // of k, in one wgmma
constexpr int WARPGROUP = 128;

template <int NUM_STAGES, int A_BYTES, int B_BYTES, int BLOCKS>
struct Ring {
  static constexpr int STAGE_BYTES = A_BYTES + B_BYTES;

  unsigned char* tiles;  // of each stage A, then B
  Barrier *full, *empty;

  __device__ __forceinline__ explicit Ring(unsigned char* shared)
      : tiles(align_to_swizzle(shared)),
        full(reinterpret_cast<Barrier*>(tiles + NUM_STAGES * STAGE_BYTES)),
        empty(full + NUM_STAGES) {}
  // What the kernel has besides.
  __device__ __forceinline__ float* behind() const { return reinterpret_cast<float*>(empty + NUM_STAGES); }
  __device__ __forceinline__ unsigned char* a(int stage) const { return tiles + stage * STAGE_BYTES; }
  __device__ __forceinline__ unsigned char* b(int stage) const { return tiles + stage * STAGE_BYTES + A_BYTES; }

  // One thread of each block calls it, before the blocks of the cluster meet; `readers`: warps of one block that read
  // each stage.
  __device__ __forceinline__ void init(int readers) const {
    for (int i = 0; i < NUM_STAGES; i++) {
      barrier_init(&full[i], 1);
      barrier_init(&empty[i], readers * BLOCKS);
    }
    barrier_init_fence();
  }

  // This warp has read the stage: arrive in every block of the cluster, since all producers write to it.
  __device__ __forceinline__ void release(int stage) const {
    const int lane = threadIdx.x % 32;
    if (lane < BLOCKS) barrier_arrive(&empty[stage], lane);
  }
};

// The place in the ring of stages: producer and consumers go round it in step.
template <int NUM_STAGES>
struct Place {
  int stage = 0;
  unsigned phase = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == NUM_STAGES) {
      stage = 0;
      phase ^= 1;
    }
  }
  __device__ __forceinline__ void advance(int stages) {
    const int rounds = (stage + stages) / NUM_STAGES;
    stage += stages - rounds * NUM_STAGES;
    phase ^= rounds & 1;
  }
};

// sums = the products over `steps` stages, in SLABS times 64 rows that begin at row `first` of each tile of A. A stage is
// 128 bytes of k deep where both factors are contiguous in k, and as many elements where they are not. Between the issue
// of the last product and the wait for it, issued() is called.
template <bool BF16, bool A_K, bool B_K, int SLABS, int GROUPS, int NUM_STAGES, int A_BYTES, int B_BYTES, int BLOCKS,
          class Issued>
__device__ __forceinline__ void multiply(float (&sums)[SLABS][GROUPS][4],
                                         const Ring<NUM_STAGES, A_BYTES, B_BYTES, BLOCKS>& ring, Place<NUM_STAGES>& at,
                                         int steps, int first, Issued issued) {
  constexpr int ELEMENT = BF16 ? 2 : 4, TILE_K = ROW_BYTES / ELEMENT;
  constexpr int A_STEP = A_K ? STEP_BYTES : STEP_BYTES / ELEMENT * ROW_BYTES;
  constexpr int B_STEP = B_K ? STEP_BYTES : STEP_BYTES / ELEMENT * ROW_BYTES;
  const auto a_first = wgmma_factor<A_K>(ring.a(0) + first * ROW_BYTES, TILE_K * ROW_BYTES);
  const auto b_first = wgmma_factor<B_K>(ring.b(0), TILE_K * ROW_BYTES);
  int last = 0;
  for (int step = 0; step < steps; step++) {
    barrier_wait(&ring.full[at.stage], at.phase);
    const auto a = wgmma_advance(a_first, at.stage * ring.STAGE_BYTES);
    const auto b = wgmma_advance(b_first, at.stage * ring.STAGE_BYTES);
    wgmma_fence(sums);
#pragma unroll
    for (int i = 0; i < ROW_BYTES / STEP_BYTES; i++)
#pragma unroll
      for (int slab = 0; slab < SLABS; slab++)
        wgmma<BF16, A_K, B_K>(sums[slab], wgmma_advance(a, i * A_STEP + slab * 64 * ROW_BYTES),
                              wgmma_advance(b, i * B_STEP), step > 0 || i > 0);
    wgmma_commit();
    wgmma_wait<1>();  // these may still run; those of the step before have read their stage
    if (step > 0) ring.release(last);
    last = at.stage;
    at.advance();
  }
  issued();
  wgmma_wait(sums);
  if (steps > 0) ring.release(last);
}

// The same in 64 rows.
template <bool BF16, bool A_K, bool B_K, int GROUPS, int NUM_STAGES, int A_BYTES, int B_BYTES, int BLOCKS>
__device__ __forceinline__ void multiply(float (&sums)[GROUPS][4],
                                         const Ring<NUM_STAGES, A_BYTES, B_BYTES, BLOCKS>& ring, Place<NUM_STAGES>& at,
                                         int steps, int first) {
  multiply<BF16, A_K, B_K>(reinterpret_cast<float(&)[1][GROUPS][4]>(sums), ring, at, steps, first, [] {});
}

// The warpgroup of this thread, as a number that the compiler knows to be the same in all lanes.
__device__ __forceinline__ int warpgroup() { return __shfl_sync(~0u, threadIdx.x / WARPGROUP, 0); }

// The life of a block of warpgroups: one thread calls init(), the first warpgroup produce(), all of the others consume().
template <int BLOCKS, class Init, class Produce, class Consume>
__device__ __forceinline__ void run_roles(Init init, Produce produce, Consume consume) {
  if (threadIdx.x == 0) init();
  if (BLOCKS > 1)
    cluster_barrier();
  else
    __syncthreads();
  if (warpgroup() == 0) {
    registers_give<40>();
    produce();
  } else {
    registers_take<232>();
    consume();
  }
  if (BLOCKS > 1) cluster_barrier();  // no block exits while others may still arrive at its barriers
}

// The same where one thread of the first calls produce(). `readers`: see Ring's init.
template <int NUM_STAGES, int A_BYTES, int B_BYTES, int BLOCKS, class Produce, class Consume>
__device__ __forceinline__ void run_warpgroups(const Ring<NUM_STAGES, A_BYTES, B_BYTES, BLOCKS>& ring, int readers,
                                               Produce produce, Consume consume) {
  const auto one = [&] {
    if (threadIdx.x == 0) produce();
  };
  run_roles<BLOCKS>([&] { ring.init(readers); }, one, consume);
}

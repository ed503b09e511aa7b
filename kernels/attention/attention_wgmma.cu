// Attention on Hopper's tensor cores, forward: y = p v, p = softmax(scale q k^T), in bf16 with sums in fp32
// Arch: sm_90a
// Shapes: q, y (N, H, S, D), k, v (N, Hk, T, D) of bf16 with any strides of 16 bytes, D = HEAD_SIZE; log_sum_exp (N, H,
//     S) float: struct Attention. No dropout.
// Launch: q_map, k_map, v_map: tensor maps, boxes of 64 x QUERY_ROWS or KEY_ROWS; grid: as many blocks as run at once,
//     at most ceil(S / QUERY_ROWS) H N; block THREADS; SHARED_BYTES of dynamic shared memory, one block per SM
// Roofline: 4 S T D operations a head, half where causal, for 4 (S + T) D bytes; compute-bound. An exponential for each
//     score: as long in its unit as both products in theirs for D 64, half as long for D 128. Oracle: ops/attention.py.
// Source: Shah et al. 2024, "FlashAttention-3", arXiv 2407.08608; Dao 2023, "FlashAttention-2", arXiv 2307.08691.
// Has not run on a GPU.
//
// One thread of the first warpgroup, the producer, keeps rings of tiles of q, k, v filled (attention/attention_wgmma.cuh);
// the others, the consumers, have 64 queries each. Scores never leave registers: those of 64 queries and a tile of
// keys are sums of wgmma, become probabilities in place, and are rounded to the factor A of the product with v.
// - Products of a tile overlap with the softmax before: scores of the next keys are under way when p v is issued, and
//   the softmax of the next begins when p v may still be.
// - Consumers take turns (named barriers): one multiplies while the others are in their softmax.
// - Blocks are persistent: while consumers write y, the tiles of the next queries arrive. The longest tiles go first.
// - Keys from the last to the first. Consumers compute only tiles that one of their 64 queries sees, look at
//   bounds only where not all of them see all, and pass the others on.
#include "attention/attention_wgmma.cuh"
#include "common/ptx/named_barrier.cuh"

#ifndef CONSUMERS
#define CONSUMERS (HEAD_SIZE > 64 ? 2 : 3)
#endif
#ifndef STAGES
#define STAGES (HEAD_SIZE > 64 ? 2 : 4)
#endif
#define KEY_ROWS 128
#define QUERY_ROWS (64 * CONSUMERS)
#define THREADS (128 * (CONSUMERS + 1))
#define SHARED_BYTES (1024 + 2 * QueryRing::BYTES + 2 * STAGES * KeyRing::BYTES + (4 + 4 * STAGES) * 8)

using QueryRing = TileRing<QUERY_ROWS, 2>;
using KeyRing = TileRing<KEY_ROWS, STAGES>;
constexpr int KEY_GROUPS = KEY_ROWS / 8;
static_assert(SHARED_BYTES <= 227 * 1024, "a block has at most 227 KB of shared memory");
static_assert(CONSUMERS == 2 || CONSUMERS == 3, "for which registers are shared out");

// The tiles of a block: each thread has its own places in the rings.
struct Rings {
  QueryRing q;
  KeyRing k, v;
  __device__ __forceinline__ explicit Rings(unsigned char* tiles)
      : q(tiles, barriers(tiles)),
        k(tiles + 2 * QueryRing::BYTES, barriers(tiles) + 4),
        v(tiles + 2 * QueryRing::BYTES + STAGES * KeyRing::BYTES, barriers(tiles) + 4 + 2 * STAGES) {}

 private:
  static __device__ __forceinline__ Barrier* barriers(unsigned char* tiles) {
    return reinterpret_cast<Barrier*>(tiles + 2 * QueryRing::BYTES + 2 * STAGES * KeyRing::BYTES);
  }
};

// Tiles of QUERY_ROWS queries of all heads, those that see most first.
struct QueryWork : HeadTile {
  int first;  // query
  __device__ __forceinline__ QueryWork(const Attention<bf16>& attention, int number)
      : HeadTile(number, attention.heads, attention.samples), first((tiles(attention) - 1 - tile) * QUERY_ROWS) {}
  static __device__ __forceinline__ int tiles(const Attention<bf16>& attention) {
    return (attention.queries + QUERY_ROWS - 1) / QUERY_ROWS;
  }
  static __device__ __forceinline__ int count(const Attention<bf16>& attention) {
    return tiles(attention) * attention.heads * attention.samples;
  }
};

__device__ __forceinline__ void produce(Rings& rings, const TensorMap& q_map, const TensorMap& k_map,
                                        const TensorMap& v_map, const Attention<bf16>& attention) {
  for (int number = blockIdx.x; number < QueryWork::count(attention); number += gridDim.x) {
    const QueryWork work(attention, number);
    const auto see = [&](int query) { return keys_of_query(attention, work.sample, query); };
    const Blocks blocks = blocks_of_rows<KEY_ROWS>(work.first, QUERY_ROWS, attention.queries, see);
    const int kv_head = work.head / attention.group;
    rings.q.wait_empty();
    rings.q.fetch(q_map, work.first, work.head, work.sample);
    rings.q.advance();
    for (int block = blocks.stop - 1; block >= blocks.first; block--) {
      rings.k.wait_empty();
      rings.k.fetch(k_map, block * KEY_ROWS, kv_head, work.sample);
      rings.k.advance();
      rings.v.wait_empty();
      rings.v.fetch(v_map, block * KEY_ROWS, kv_head, work.sample);
      rings.v.advance();
    }
  }
}

// The turns of consumers: each block of keys, one issues its products after the other.
struct Turn {
  int own, next;  // barriers
  __device__ __forceinline__ explicit Turn(int consumer) : own(1 + consumer), next(1 + (consumer + 1) % CONSUMERS) {
    if (consumer == CONSUMERS - 1) pass();  // the first begins
  }
  __device__ __forceinline__ void wait() const { named_barrier_wait<2 * WARPGROUP>(own); }
  __device__ __forceinline__ void pass() const { named_barrier_arrive<2 * WARPGROUP>(next); }
};

// The softmax of two rows of a lane, of which four have a row: scores come tile after tile.
struct Softmax {
  float largest[2] = {-infinity(), -infinity()};  // of the scores so far
  float sum[2] = {0, 0};                      // of this lane's exponentials against it

  // exp(scale (d - largest)) in place of scores; `shrink` is by how much those before have to be less.
  template <int GROUPS>
  __device__ __forceinline__ void take(float (&d)[GROUPS][4], float scale_log2, float (&shrink)[2]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float now = largest[half];
#pragma unroll
      for (int j = 0; j < GROUPS; j++) now = fmaxf(now, fmaxf(d[j][2 * half], d[j][2 * half + 1]));
      now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
      now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
      const float base = now == -infinity() ? 0 : now * scale_log2;  // nothing seen so far: all are 0
      shrink[half] = exp2_approx(largest[half] * scale_log2 - base);
      largest[half] = now;
      float more = 0;
#pragma unroll
      for (int j = 0; j < GROUPS; j++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          d[j][i] = exp2_approx(d[j][i] * scale_log2 - base);
          more += d[j][i];
        }
      sum[half] = sum[half] * shrink[half] + more;
    }
  }
  // The whole sums of the rows, for all four lanes.
  __device__ __forceinline__ void merge() {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      sum[half] += __shfl_xor_sync(~0u, sum[half], 1);
      sum[half] += __shfl_xor_sync(~0u, sum[half], 2);
    }
  }
};

// sums = the rows of v weighted by exponentials of 64 queries, over `blocks`, which are not none.
__device__ __forceinline__ void attend(float (&sums)[HEAD_GROUPS][4], Softmax& softmax, Rings& rings, const Turn& turn,
                                       const Sight& sight, const Blocks& blocks, int row, float scale_log2) {
  const unsigned char* q = rings.q.tile() + row * ROW_BYTES;
  float scores[KEY_GROUPS][4], shrink[2];
  unsigned p[KEY_GROUPS / 2][4];
  rings.k.wait();
  turn.wait();
  multiply_rows<QUERY_ROWS>(scores, q, rings.k.tile());
  turn.pass();
  wgmma_wait(scores);
  rings.k.advance();
  rings.k.release_last();
  sight.hide(scores, (blocks.stop - 1) * KEY_ROWS, -infinity());
  softmax.take(scores, scale_log2, shrink);
  to_factor(scores, p);
  for (int block = blocks.stop - 2; block >= blocks.first; block--) {
    rings.k.wait();
    rings.v.wait();
    turn.wait();
    multiply_rows<QUERY_ROWS>(scores, q, rings.k.tile());
    add_rows(sums, p, rings.v.tile());
    turn.pass();
    wgmma_wait<1>();
    keep_sums(scores);
    rings.k.advance();
    rings.k.release_last();
    sight.hide(scores, block * KEY_ROWS, -infinity());
    softmax.take(scores, scale_log2, shrink);
    wgmma_wait(sums);
    rings.v.advance();
    rings.v.release_last();
#pragma unroll
    for (int j = 0; j < HEAD_GROUPS; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) sums[j][i] *= shrink[i / 2];
    to_factor(scores, p);
  }
  rings.q.advance();
  rings.q.release_last();
  rings.v.wait();
  add_rows(sums, p, rings.v.tile());
  wgmma_wait(sums);
  rings.v.advance();
  rings.v.release_last();
}

// Tiles that this consumer does not need.
__device__ __forceinline__ void pass_over(Rings& rings, const Turn& turn, int count) {
  for (; count > 0; count--) {
    turn.wait();
    turn.pass();
    rings.k.pass_over();
    rings.v.pass_over();
  }
}

__device__ __forceinline__ void write(const Attention<bf16>& attention, const QueryWork& work, int first,
                                      const float (&sums)[HEAD_GROUPS][4], Softmax& softmax, float scale_log2) {
  softmax.merge();
  float factors[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const float sum = softmax.sum[half], logarithm = softmax.largest[half] * scale_log2 * LN_2 + logf(sum);
    const long long statistics = statistics_of(attention, work.sample, work.head);
    const int query = first + Sight::row_in_group() + 8 * half;
    factors[half] = sum == 0 ? 0 : 1 / sum;  // a query that sees nothing gives 0
    if (threadIdx.x % 4 == 0 && query < attention.queries)
      attention.log_sum_exp[statistics + query] = sum == 0 ? -infinity() : logarithm;
  }
  bf16* y = head_of(attention.y, attention.of_y, work.sample, work.head);
  write_rows(y, attention.of_y.token, first, attention.queries, sums, factors);
}

__device__ __forceinline__ void consume(Rings& rings, const Attention<bf16>& attention) {
  const int consumer = same_in_warp(threadIdx.x / WARPGROUP) - 1, row = consumer * GROUP_ROWS;
  const float scale_log2 = attention.scale * LOG2_E;
  const Turn turn(consumer);
  for (int number = blockIdx.x; number < QueryWork::count(attention); number += gridDim.x) {
    const QueryWork work(attention, number);
    const auto see = [&](int query) { return keys_of_query(attention, work.sample, query); };
    const Blocks all = blocks_of_rows<KEY_ROWS>(work.first, QUERY_ROWS, attention.queries, see).same_in_warp();
    const Sight sight(work.first + row, attention.queries, see);
    const Blocks own = sight.blocks<KEY_ROWS>(all).same_in_warp();
    float sums[HEAD_GROUPS][4] = {};
    Softmax softmax;
    rings.q.wait();
    pass_over(rings, turn, all.stop - own.stop);
    if (own.first < own.stop) {
      attend(sums, softmax, rings, turn, sight, own, row, scale_log2);
    } else {
      rings.q.advance();
      rings.q.release_last();
    }
    pass_over(rings, turn, own.first - all.first);
    write(attention, work, work.first + row, sums, softmax, scale_log2);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_wgmma(const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map,
                const __grid_constant__ TensorMap v_map, const __grid_constant__ Attention<bf16> attention) {
  DYNAMIC_SHARED(shared);
  Rings rings(align_to_swizzle(shared));
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&q_map);
    prefetch_tensor_map(&k_map);
    prefetch_tensor_map(&v_map);
    rings.q.init(1, 4 * CONSUMERS);
    rings.k.init(1, 4 * CONSUMERS);
    rings.v.init(1, 4 * CONSUMERS);
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < WARPGROUP) {
    registers_give<CONSUMERS == 2 ? 24 : 32>();
    if (threadIdx.x == 0) produce(rings, q_map, k_map, v_map, attention);
  } else {
    registers_take<CONSUMERS == 2 ? 240 : 160>();
    consume(rings, attention);
  }
}

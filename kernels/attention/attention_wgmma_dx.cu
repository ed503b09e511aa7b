// Attention on Hopper's tensor cores, backward: dk and dv, and dq, in bf16 with sums in fp32
// Arch: sm_90a
// Shapes: q, dy, dq (N, H, S, D), k, v, dk, dv (N, Hk, T, D) of bf16 with any strides of 16 bytes, D = HEAD_SIZE;
//     log_sum_exp, delta (N, H, S) float: struct Attention. No dropout.
// Launch: own_map, own_map_too, other_map, other_map_too: maps of k, v, q, dy for attention_wgmma_dkv, of q, dy, k, v
//     for attention_wgmma_dq; boxes of 64 x OWN_ROWS, and x QUERY_ROWS (dkv) or KEY_ROWS (dq); grid: blocks that run at
//     once, at most ceil(T / OWN_ROWS) Hk N (dkv) or ceil(S / OWN_ROWS) H N (dq); block THREADS; SHARED_BYTES_DKV or
//     SHARED_BYTES_DQ of dynamic shared memory, one block per SM
// Roofline: 14 S T D operations a head, half where causal: 4 and 3 products of a tile (with sums of dq by atomics it
//     would be 5 of one kernel, whose bits change from run to run); compute-bound. Oracle: ops/attention.py.
// Source: Dao 2023, "FlashAttention-2", arXiv 2307.08691; Shah et al. 2024, "FlashAttention-3", arXiv 2407.08608.
// Has not run on a GPU.
//
//     p = exp(scale q k^T - log_sum_exp),  ds = p (dy v^T - delta),  dv = p^T dy,  dk = scale ds^T q,  dq = scale ds k
//
// A consumer owns 64 keys (dkv) or queries (dq), whose sums stay in its registers, and goes through tiles of others.
// Scores are computed with its own rows in rows, so p^T and ds^T (dkv) or ds (dq) are in the layout of a factor A.
// Tensor cores stay busy while exponentials are taken: the products of a tile are issued as soon as what they need is
// there, and those of the next begin when the last of this one may still be under way.
// Heads that share keys and values take turns in one block: their dk and dv are added up in order.
#include "attention/attention_wgmma.cuh"

#ifndef STAGES
#define STAGES (HEAD_SIZE > 64 ? 2 : 4)
#endif
#ifndef QUERY_ROWS
#define QUERY_ROWS 64
#endif
#define KEY_ROWS 128
#define CONSUMERS 2
#define OWN_ROWS (64 * CONSUMERS)
#define THREADS (128 * (CONSUMERS + 1))
#define OWN_STAGES_DQ (HEAD_SIZE > 64 ? 1 : 2)
#define SHARED_BYTES_DKV DkvRings::BYTES
#define SHARED_BYTES_DQ DqRings::BYTES

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
using DkvRings = Rings<2, QUERY_ROWS, 2>;
using DqRings = Rings<OWN_STAGES_DQ, KEY_ROWS, 0>;

struct Maps {
  const TensorMap &own, &own_too, &other, &other_too;
};

// log2 of a query's sum of exponentials; infinite, so that all probabilities are 0, where it sees nothing or is none.
__device__ __forceinline__ float logarithm_of(const float* log_sum_exp, int query, int count) {
  const float natural = query < count ? log_sum_exp[query] : -infinity();
  return natural == -infinity() ? infinity() : natural * LOG2_E;
}

// ---- dk and dv: a block owns keys ----

struct KeyWork : HeadTile {
  int first;  // key; the first ones are seen by most queries where causal
  __device__ __forceinline__ KeyWork(const Attention<bf16>& attention, int number)
      : HeadTile(number, kv_heads(attention), attention.samples), first(tile * OWN_ROWS) {}
  static __device__ __forceinline__ int kv_heads(const Attention<bf16>& attention) {
    return attention.heads / attention.group;
  }
  static __device__ __forceinline__ int count(const Attention<bf16>& attention) {
    return tiles_of<OWN_ROWS>(attention.keys) * kv_heads(attention) * attention.samples;
  }
};

// By a warp: its first lane requests tiles, and all bring logarithms and deltas, which begin at any address.
__device__ __forceinline__ void produce_dkv(DkvRings& rings, const Maps& maps, const Attention<bf16>& attention) {
  const int lane = threadIdx.x;
  for (int number = blockIdx.x; number < KeyWork::count(attention); number += gridDim.x) {
    const KeyWork work(attention, number);
    const auto see = [&](int key) { return queries_of_key(attention, work.sample, key); };
    const Blocks blocks = blocks_of_rows<QUERY_ROWS>(work.first, OWN_ROWS, attention.keys, see);
    __syncwarp();  // no lane may be two phases of a barrier behind another
    rings.own.wait_empty();
    if (lane == 0) rings.own.fetch(maps.own, work.first, work.head, work.sample);
    rings.own.advance();
    rings.own_too.wait_empty();
    if (lane == 0) rings.own_too.fetch(maps.own_too, work.first, work.head, work.sample);
    rings.own_too.advance();
    for (int head = work.head * attention.group; head < (work.head + 1) * attention.group; head++) {
      const long long at = statistics_of(attention, work.sample, head);
      for (int block = blocks.stop - 1; block >= blocks.first; block--) {
        const int first = block * QUERY_ROWS;
        float logarithms[QUERY_ROWS / 32], deltas[QUERY_ROWS / 32];
#pragma unroll
        for (int i = 0; i < QUERY_ROWS / 32; i++) {
          const int query = first + 32 * i + lane;
          logarithms[i] = logarithm_of(attention.log_sum_exp + at, query, attention.queries);
          deltas[i] = query < attention.queries ? attention.delta[at + query] : 0;
        }
        rings.other.wait_empty();
        if (lane == 0) rings.other.fetch(maps.other, first, head, work.sample);
        rings.other_too.wait_empty();
        if (lane == 0) rings.other_too.fetch(maps.other_too, first, head, work.sample);
#pragma unroll
        for (int i = 0; i < QUERY_ROWS / 32; i++) {
          rings.statistics()[32 * i + lane] = logarithms[i];
          rings.statistics()[QUERY_ROWS + 32 * i + lane] = deltas[i];
        }
        barrier_arrive(&rings.other.full[rings.other.stage], 0);
        rings.other.advance();
        rings.other_too.advance();
      }
    }
  }
}

// Add the parts of the queries in `blocks` of one head to dk and dv. k, v: the 64 own rows.
__device__ __forceinline__ void add_queries(float (&dk)[HEAD_GROUPS][4], float (&dv)[HEAD_GROUPS][4],
                                            const unsigned char* k, const unsigned char* v, DkvRings& rings,
                                            const Sight& sight, const Blocks& blocks, float scale_log2) {
  constexpr int GROUPS = QUERY_ROWS / 8;
  const int column = threadIdx.x % 4 * 2;
  float p[GROUPS][4], ds[GROUPS][4];
  unsigned p_factor[GROUPS / 2][4], ds_factor[GROUPS / 2][4];
  for (int block = blocks.stop - 1; block >= blocks.first; block--) {
    rings.other.wait();
    multiply_rows<OWN_ROWS>(p, k, rings.other.tile());
    wgmma_wait<1>();  // the products of the tile before
    keep_sums(dk);
    keep_sums(dv);
    if (block < blocks.stop - 1) {
      rings.other.release_last();
      rings.other_too.release_last();
    }
    rings.other_too.wait();
    multiply_rows<OWN_ROWS>(ds, v, rings.other_too.tile());
    wgmma_wait<1>();
    keep_sums(p);
    const float* logarithms = rings.statistics() + column;
    sight.hide(p, block * QUERY_ROWS, -infinity());
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
      const auto two = *reinterpret_cast<const Vec<float, 2>*>(logarithms + 8 * j);
#pragma unroll
      for (int i = 0; i < 4; i++) p[j][i] = exp2_approx(p[j][i] * scale_log2 - two.at[i % 2]);
    }
    to_factor(p, p_factor);
    add_rows(dv, p_factor, rings.other_too.tile());
    wgmma_wait<1>();
    keep_sums(ds);
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
      const auto two = *reinterpret_cast<const Vec<float, 2>*>(logarithms + QUERY_ROWS + 8 * j);
#pragma unroll
      for (int i = 0; i < 4; i++) ds[j][i] = p[j][i] * (ds[j][i] - two.at[i % 2]);
    }
    to_factor(ds, ds_factor);
    add_rows(dk, ds_factor, rings.other.tile());
    rings.other.advance();
    rings.other_too.advance();
  }
  wgmma_wait(dk);
  keep_sums(dv);
  if (blocks.first < blocks.stop) {
    rings.other.release_last();
    rings.other_too.release_last();
  }
}

__device__ __forceinline__ void consume_dkv(DkvRings& rings, const Attention<bf16>& attention) {
  const int row = (same_in_warp(threadIdx.x / WARPGROUP) - 1) * GROUP_ROWS;
  for (int number = blockIdx.x; number < KeyWork::count(attention); number += gridDim.x) {
    const KeyWork work(attention, number);
    const auto see = [&](int key) { return queries_of_key(attention, work.sample, key); };
    const Blocks all = blocks_of_rows<QUERY_ROWS>(work.first, OWN_ROWS, attention.keys, see).same_in_warp();
    const Sight sight(work.first + row, attention.keys, see);
    const Blocks own = sight.blocks<QUERY_ROWS>(all).same_in_warp();
    float dk[HEAD_GROUPS][4] = {}, dv[HEAD_GROUPS][4] = {};
    rings.own.wait();
    rings.own_too.wait();
    for (int i = 0; i < attention.group; i++) {
      rings.pass_over(all.stop - own.stop);
      add_queries(dk, dv, rings.own.tile() + row * ROW_BYTES, rings.own_too.tile() + row * ROW_BYTES, rings, sight, own,
                  attention.scale * LOG2_E);
      rings.pass_over(own.first - all.first);
    }
    rings.own.advance();
    rings.own.release_last();
    rings.own_too.advance();
    rings.own_too.release_last();
    write_rows(head_of(attention.dk, attention.of_dk, work.sample, work.head), attention.of_dk.token, work.first + row,
               attention.keys, dk, {attention.scale, attention.scale});
    write_rows(head_of(attention.dv, attention.of_dv, work.sample, work.head), attention.of_dv.token, work.first + row,
               attention.keys, dv, {1, 1});
  }
}

// ---- dq: a block owns queries ----

struct QueryWork : HeadTile {
  int first;  // query; the last ones see most keys where causal
  __device__ __forceinline__ QueryWork(const Attention<bf16>& attention, int number)
      : HeadTile(number, attention.heads, attention.samples),
        first((tiles_of<OWN_ROWS>(attention.queries) - 1 - tile) * OWN_ROWS) {}
  static __device__ __forceinline__ int count(const Attention<bf16>& attention) {
    return tiles_of<OWN_ROWS>(attention.queries) * attention.heads * attention.samples;
  }
};

__device__ __forceinline__ void produce_dq(DqRings& rings, const Maps& maps, const Attention<bf16>& attention) {
  for (int number = blockIdx.x; number < QueryWork::count(attention); number += gridDim.x) {
    const QueryWork work(attention, number);
    const auto see = [&](int query) { return keys_of_query(attention, work.sample, query); };
    const Blocks blocks = blocks_of_rows<KEY_ROWS>(work.first, OWN_ROWS, attention.queries, see);
    const int kv_head = work.head / attention.group;
    rings.own.wait_empty();
    rings.own.fetch(maps.own, work.first, work.head, work.sample);
    rings.own.advance();
    rings.own_too.wait_empty();
    rings.own_too.fetch(maps.own_too, work.first, work.head, work.sample);
    rings.own_too.advance();
    for (int block = blocks.stop - 1; block >= blocks.first; block--) {
      rings.other.wait_empty();
      rings.other.fetch(maps.other, block * KEY_ROWS, kv_head, work.sample);
      rings.other.advance();
      rings.other_too.wait_empty();
      rings.other_too.fetch(maps.other_too, block * KEY_ROWS, kv_head, work.sample);
      rings.other_too.advance();
    }
  }
}

// Add the parts of the keys in `blocks` to dq. q, dy: the 64 own rows; logarithms and deltas of this lane's two.
__device__ __forceinline__ void add_keys(float (&dq)[HEAD_GROUPS][4], const unsigned char* q, const unsigned char* dy,
                                         DqRings& rings, const Sight& sight, const Blocks& blocks,
                                         const float (&logarithms)[2], const float (&deltas)[2], float scale_log2) {
  constexpr int GROUPS = KEY_ROWS / 8;
  float p[GROUPS][4], ds[GROUPS][4];
  unsigned ds_factor[GROUPS / 2][4];
  for (int block = blocks.stop - 1; block >= blocks.first; block--) {
    rings.other.wait();
    multiply_rows<OWN_ROWS>(p, q, rings.other.tile());
    wgmma_wait<1>();  // the product of the tile before
    keep_sums(dq);
    if (block < blocks.stop - 1) rings.other.release_last();
    rings.other_too.wait();
    multiply_rows<OWN_ROWS>(ds, dy, rings.other_too.tile());
    wgmma_wait<1>();
    keep_sums(p);
    sight.hide(p, block * KEY_ROWS, -infinity());
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) p[j][i] = exp2_approx(p[j][i] * scale_log2 - logarithms[i / 2]);
    wgmma_wait(ds);
    rings.other_too.advance();
    rings.other_too.release_last();
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) ds[j][i] = p[j][i] * (ds[j][i] - deltas[i / 2]);
    to_factor(ds, ds_factor);
    add_rows(dq, ds_factor, rings.other.tile());
    rings.other.advance();
  }
  wgmma_wait(dq);
  if (blocks.first < blocks.stop) rings.other.release_last();
}

__device__ __forceinline__ void consume_dq(DqRings& rings, const Attention<bf16>& attention) {
  const int row = (same_in_warp(threadIdx.x / WARPGROUP) - 1) * GROUP_ROWS;
  for (int number = blockIdx.x; number < QueryWork::count(attention); number += gridDim.x) {
    const QueryWork work(attention, number);
    const auto see = [&](int query) { return keys_of_query(attention, work.sample, query); };
    const Blocks all = blocks_of_rows<KEY_ROWS>(work.first, OWN_ROWS, attention.queries, see).same_in_warp();
    const Sight sight(work.first + row, attention.queries, see);
    const Blocks own = sight.blocks<KEY_ROWS>(all).same_in_warp();
    float dq[HEAD_GROUPS][4] = {}, logarithms[2], deltas[2];
    const long long at = statistics_of(attention, work.sample, work.head);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int query = work.first + row + Sight::row_in_group() + 8 * half;
      logarithms[half] = logarithm_of(attention.log_sum_exp + at, query, attention.queries);
      deltas[half] = query < attention.queries ? attention.delta[at + query] : 0;
    }
    rings.own.wait();
    rings.own_too.wait();
    rings.pass_over(all.stop - own.stop);
    add_keys(dq, rings.own.tile() + row * ROW_BYTES, rings.own_too.tile() + row * ROW_BYTES, rings, sight, own,
             logarithms, deltas, attention.scale * LOG2_E);
    rings.own.advance();
    rings.own.release_last();
    rings.own_too.advance();
    rings.own_too.release_last();
    rings.pass_over(own.first - all.first);
    write_rows(head_of(attention.dq, attention.of_dq, work.sample, work.head), attention.of_dq.token, work.first + row,
               attention.queries, dq, {attention.scale, attention.scale});
  }
}

// Before the roles part: by thread 0, which all wait for.
template <class AllRings>
__device__ __forceinline__ void begin(const AllRings& rings, const Maps& maps) {
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&maps.own);
    prefetch_tensor_map(&maps.own_too);
    prefetch_tensor_map(&maps.other);
    prefetch_tensor_map(&maps.other_too);
    rings.init();
  }
  __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_wgmma_dkv(const __grid_constant__ TensorMap own_map, const __grid_constant__ TensorMap own_map_too,
                    const __grid_constant__ TensorMap other_map, const __grid_constant__ TensorMap other_map_too,
                    const __grid_constant__ Attention<bf16> attention) {
  DYNAMIC_SHARED(shared);
  DkvRings rings(align_to_swizzle(shared));
  const Maps maps = {own_map, own_map_too, other_map, other_map_too};
  begin(rings, maps);
  if (threadIdx.x < WARPGROUP) {
    registers_give<24>();
    if (threadIdx.x < 32) produce_dkv(rings, maps, attention);
  } else {
    registers_take<240>();
    consume_dkv(rings, attention);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_wgmma_dq(const __grid_constant__ TensorMap own_map, const __grid_constant__ TensorMap own_map_too,
                   const __grid_constant__ TensorMap other_map, const __grid_constant__ TensorMap other_map_too,
                   const __grid_constant__ Attention<bf16> attention) {
  DYNAMIC_SHARED(shared);
  DqRings rings(align_to_swizzle(shared));
  const Maps maps = {own_map, own_map_too, other_map, other_map_too};
  begin(rings, maps);
  if (threadIdx.x < WARPGROUP) {
    registers_give<24>();
    if (threadIdx.x == 0) produce_dq(rings, maps, attention);
  } else {
    registers_take<240>();
    consume_dq(rings, attention);
  }
}

// Attention on Hopper's tensor cores, backward: dk and dv, in bf16 with sums in fp32
// Arch: sm_90a
// Shapes: q, dy (N, H, S, D), k, v, dk, dv (N, Hk, T, D) of bf16 with any strides of 16 bytes, D = HEAD_SIZE;
//     log_sum_exp, delta (N, H, S) float: struct Attention. No dropout.
// Launch: own_map, own_map_too, other_map, other_map_too: maps of k, v, q, dy; boxes of 64 x OWN_ROWS, and x
//     QUERY_ROWS; grid: blocks that run at once, at most ceil(T / OWN_ROWS) Hk N; block THREADS; SHARED_BYTES of dynamic
//     shared memory, one block per SM
// Roofline: 8 S T D operations a head, half where causal: 4 products of a tile; compute-bound. Oracle: ops/attention.py.
// Source: Dao 2023, "FlashAttention-2", arXiv 2307.08691; Shah et al. 2024, "FlashAttention-3", arXiv 2407.08608.
// Has not run on a GPU.
//
// A block owns keys and goes through queries. Heads that share keys and values take turns in one block: their dk and dv
// are added up in order.
#include "attention/attention_wgmma_dx.cuh"

#ifndef QUERY_ROWS
#define QUERY_ROWS 64
#endif
#define SHARED_BYTES DkvRings::BYTES

using DkvRings = Rings<2, QUERY_ROWS, 2>;

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
__device__ __forceinline__ void produce(DkvRings& rings, const Maps& maps, const Attention<bf16>& attention) {
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

__device__ __forceinline__ void consume(DkvRings& rings, const Attention<bf16>& attention) {
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

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_wgmma_dkv(const __grid_constant__ TensorMap own_map, const __grid_constant__ TensorMap own_map_too,
                    const __grid_constant__ TensorMap other_map, const __grid_constant__ TensorMap other_map_too,
                    const __grid_constant__ Attention<bf16> attention) {
  DYNAMIC_SHARED(shared);
  DkvRings rings(align_to_swizzle(shared));
  const Maps maps = {own_map, own_map_too, other_map, other_map_too};
  run_roles(rings, maps, 32, [&] { produce(rings, maps, attention); }, [&] { consume(rings, attention); });
}

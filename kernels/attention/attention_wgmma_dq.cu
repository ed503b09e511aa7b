// Attention on Hopper's tensor cores, backward: dq, in bf16 with sums in fp32
// Arch: sm_90a
// Shapes: q, dy, dq (N, H, S, D), k, v (N, Hk, T, D) of bf16 with any strides of 16 bytes, D = HEAD_SIZE;
//     log_sum_exp, delta (N, H, S) float: struct Attention. No dropout.
// Launch: own_map, own_map_too, other_map, other_map_too: maps of q, dy, k, v; boxes of 64 x OWN_ROWS, and x
//     KEY_ROWS; grid: blocks that run at once, at most ceil(S / OWN_ROWS) H N; block THREADS; SHARED_BYTES of dynamic
//     shared memory, one block per SM
// Roofline: 6 S T D operations a head, half where causal: 3 products of a tile; compute-bound. Oracle: ops/attention.py.
// Source: Dao 2023, "FlashAttention-2", arXiv 2307.08691; Shah et al. 2024, "FlashAttention-3", arXiv 2407.08608.
// Has not run on a GPU.
//
// A block owns queries and goes through keys.
#include "attention/attention_wgmma_dx.cuh"

#define KEY_ROWS 128
#define SHARED_BYTES DqRings::BYTES

using DqRings = Rings<(HEAD_SIZE > 64 ? 1 : 2), KEY_ROWS, 0>;

struct QueryWork : HeadTile {
  int first;  // query; the last ones see most keys where causal
  __device__ __forceinline__ QueryWork(const Attention<bf16>& attention, int number)
      : HeadTile(number, attention.heads, attention.samples),
        first((tiles_of<OWN_ROWS>(attention.queries) - 1 - tile) * OWN_ROWS) {}
  static __device__ __forceinline__ int count(const Attention<bf16>& attention) {
    return tiles_of<OWN_ROWS>(attention.queries) * attention.heads * attention.samples;
  }
};

__device__ __forceinline__ void produce(DqRings& rings, const Maps& maps, const Attention<bf16>& attention) {
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

__device__ __forceinline__ void consume(DqRings& rings, const Attention<bf16>& attention) {
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

extern "C" __global__ void __launch_bounds__(THREADS, 1)
attention_wgmma_dq(const __grid_constant__ TensorMap own_map, const __grid_constant__ TensorMap own_map_too,
                   const __grid_constant__ TensorMap other_map, const __grid_constant__ TensorMap other_map_too,
                   const __grid_constant__ Attention<bf16> attention) {
  DYNAMIC_SHARED(shared);
  DqRings rings(align_to_swizzle(shared));
  const Maps maps = {own_map, own_map_too, other_map, other_map_too};
  run_roles(rings, maps, 1, [&] { produce(rings, maps, attention); }, [&] { consume(rings, attention); });
}

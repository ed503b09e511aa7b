// Attention backward on tensor cores, sm_80 and later: the gradient of the queries
// Arch: sm_80
// Shapes: q, dy, dq (N, H, S, D), k, v (N, Hk, T, D) of Element, any strides of samples, heads and tokens; log_sum_exp
//     and delta (N, H, S) float: struct Attention of attention/attention.cuh. D up to HEAD. ELEMENT_BF16 0: float, as tf32
// Launch: grid ceil(S / TILE_Q) H N, THREADS per block, SHARED_BYTES dynamic shared memory. TILE_Q = 4 WARP_ROWS
// Roofline: 6 S T D operations a head, half of it where causal; compute-bound. Oracle: ops/attention.py.
// Source: Dao 2023, "FlashAttention-2", arXiv 2307.08691. Has not run on a GPU.
//
//     p = exp(scale q k^T - log_sum_exp),  dp = (dy v^T) m,  ds = p (dp - delta),  dq = scale ds k
//
// As forward: a block has TILE_Q queries and goes through the keys they see, in order, so each number of dq is a sum
// that one warp makes: the same bits every time, without atomics. q and dy stay where they are, scores stay in
// registers.
#include "attention/attention_fragments.cuh"
#include "attention/attention_masks.cuh"

#ifndef WARP_ROWS
#define WARP_ROWS 16
#define TILE_K 32
#endif
#ifndef STAGES
#define STAGES 2
#endif
#define TILE_Q (WARP_ROWS * 4)
#define SHARED_BYTES ((2 * TILE_Q + 2 * STAGES * TILE_K) * PITCH)

constexpr int SLABS = WARP_ROWS / 16, COLUMNS = TILE_K / 8;
constexpr bool KEPT = SLABS * STEPS <= 4;  // q and dy stay in registers
static_assert(TILE_Q == WARP_ROWS * WARPS && TILE_Q <= THREADS, "warps share the queries; a thread looks up one");
static_assert(TILE_K % 32 == 0, "masks are drawn for 32 keys at a time, or 64");
static_assert(STAGES >= 2, "one stage fills while another is read");

extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_mma_dq(const Attention<Element> attention) {
  DYNAMIC_SHARED(shared);
  __shared__ Interval seen[TILE_Q];
  __shared__ HeadMasks masks;
  const BlockPlace place(attention.queries, TILE_Q, attention.heads);
  const int sample = place.sample, head = place.head, first_query = place.last_first();
  const int kv_head = head / attention.group, last_query = attention.queries - 1;
  const Tokens keys = tokens_of(attention, attention.k, attention.of_k, sample, kv_head, attention.keys);
  const Tokens values = tokens_of(attention, attention.v, attention.of_v, sample, kv_head, attention.keys);
  unsigned char *const slopes = shared + TILE_Q * PITCH, *const stages = slopes + TILE_Q * PITCH;

  const Tokens queries = tokens_of(attention, attention.q, attention.of_q, sample, head, attention.queries);
  const Tokens of_slopes = tokens_of(attention, attention.dy, attention.of_dy, sample, head, attention.queries);
  const TileLoader<TILE_Q> q_loader(queries), dy_loader(of_slopes);
  q_loader.fetch(shared, first_query);
  dy_loader.fetch(slopes, first_query);
  if (DROPS && threadIdx.x == 0) masks.set(attention, sample, head);
  if (threadIdx.x < TILE_Q)
    seen[threadIdx.x] = keys_of_query(attention, sample, min(first_query + int(threadIdx.x), last_query));
  __syncthreads();
  const int row = threadIdx.x / 32 * WARP_ROWS;  // of the warp, in the tile
  const WarpSight<WARP_ROWS> sight = {seen + row};
  const Tiles tiles = tiles_of({seen[0].begin, seen[TILE_Q - 1].end}, TILE_K, DROPS ? attention.key % TICK : 0);
  const KeyTiles<TILE_K, STAGES> key_tiles(stages, keys, values, tiles);

  const long long statistics = statistics_of(attention, sample, head);
  float base[2 * SLABS], delta[2 * SLABS];
#pragma unroll
  for (int i = 0; i < 2 * SLABS; i++) {
    const long long query = statistics + min(first_query + row + row_of(i), last_query);
    base[i] = attention.log_sum_exp[query] == minus_infinity() ? 0 : attention.log_sum_exp[query] * LOG2_E;
    delta[i] = attention.delta[query];
  }

  key_tiles.begin();
  q_loader.round(shared);
  dy_loader.round(slopes);
  __syncthreads();  // the queries have arrived
  const Lanes lanes;
  const Factor<SLABS, KEPT> q(shared, lanes, row), dy(slopes, lanes, row);
  const float scale = attention.scale * LOG2_E, kept_scale = scale_of_kept(attention.dropout);
  float dq[SLABS][GROUPS][4] = {};

  for (int tile = 0; tile < key_tiles.count(); tile++) {
    unsigned char *const keys_here = key_tiles.arrive(tile), *const values_here = keys_here + key_tiles.VALUES;
    const int first = key_tiles.first_key(tile);
    if (sight.none(first, TILE_K)) continue;
    float p[SLABS][COLUMNS][4], ds[SLABS][COLUMNS][4];
    multiply_rows(p, q, keys_here, lanes);
    multiply_rows(ds, dy, values_here, lanes);
    if (!sight.all(first, TILE_K)) hide(p, sight, first);
    if (DROPS) drop_keys(ds, masks, first_query + row, (first + attention.key % TICK) / TICK);
#pragma unroll
    for (int i = 0; i < SLABS; i++)
#pragma unroll
      for (int j = 0; j < COLUMNS; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int of = 2 * i + e / 2;
          const float dp = DROPS ? ds[i][j][e] * kept_scale : ds[i][j][e];
          ds[i][j][e] = exp2_approx(p[i][j][e] * scale - base[of]) * (dp - delta[of]);
        }
    add_weighted(dq, ds, keys_here, lanes);
  }

#pragma unroll
  for (int i = 0; i < SLABS; i++)
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) dq[i][j][e] *= attention.scale;
  write_rows(head_of(attention.dq, attention.of_dq, sample, head), int(attention.of_dq.token), attention.queries,
             attention.size, first_query + row, dq);
}

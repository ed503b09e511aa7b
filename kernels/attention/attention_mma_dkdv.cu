// Attention backward on tensor cores, sm_80 and later: the gradients of keys and values
// Arch: sm_80
// Shapes: q, dy (N, H, S, D), k, v, dk, dv (N, Hk, T, D) of Element, any strides of samples, heads and tokens;
//     log_sum_exp and delta (N, H, S) float: struct Attention of attention/attention.cuh. D up to HEAD. ELEMENT_BF16 0:
//     float, as tf32
// Launch: grid ceil((T + key % 16) / TILE_K) Hk N, without DROPS ceil(T / TILE_K) Hk N; THREADS per block, SHARED_BYTES
//     dynamic shared memory. TILE_K = 4 WARP_ROWS
// Roofline: 8 S T D operations a head, half of it where causal; compute-bound. Oracle: ops/attention.py.
// Source: Dao 2023, "FlashAttention-2", arXiv 2307.08691. Has not run on a GPU.
//
//     p = exp(scale q k^T - log_sum_exp),  dp = (dy v^T) m,  ds = p (dp - delta),  dv = (p m)^T dy,  dk = scale ds^T q
//
// A block has TILE_K keys of a head, and goes through the queries that see them, head after head of its group, in
// order: each number of dk and dv is a sum that one warp makes, the same bits every time, without atomics. Scores are
// computed transposed, keys in rows: so p^T and ds^T, in registers, are factors of the next products as they are.
#include "attention/attention_fragments.cuh"
#include "attention/attention_masks.cuh"

#ifndef WARP_ROWS
#define WARP_ROWS 16
#define TILE_Q 32
#endif
#ifndef STAGES
#define STAGES 2
#endif
#define TILE_K (WARP_ROWS * 4)
#define STAGE_BYTES (2 * TILE_Q * (PITCH + 4))
#define SHARED_BYTES (2 * TILE_K * PITCH + STAGES * STAGE_BYTES)

constexpr int SLABS = WARP_ROWS / 16, COLUMNS = TILE_Q / 8;
constexpr bool KEPT = SLABS * STEPS <= 4;  // k and v stay in registers
constexpr float LOWEST = -1e38f;  // in place of -infinity, whose differences are no numbers
static_assert(TILE_K == WARP_ROWS * WARPS && TILE_K <= THREADS, "warps share the keys; a thread looks up one");
static_assert(2 * TILE_Q <= THREADS, "a thread copies a statistic of one query");
static_assert(TILE_Q % 32 == 0, "masks are drawn for 32 queries at a time");
static_assert(STAGES >= 2, "one stage fills while another is read");

using Sums = float[SLABS][COLUMNS][4];

// p and dp become (p m) and ds. `base` and `delta` are those of the queries of a tile, in shared memory.
__device__ __forceinline__ void slopes_of_scores(Sums& p, Sums& dp, const float* logs, const float* deltas, float scale,
                                                 float kept_scale, const HeadMasks& masks, long long first_query,
                                                 int tick) {
#pragma unroll
  for (int i = 0; i < SLABS; i++) {
    const KeptQueries<COLUMNS> kept(masks, first_query, tick + i);
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const int column = 8 * j + 2 * (threadIdx.x % 4) + e;
        const float base = fmaxf(logs[column], LOWEST) * LOG2_E, delta = deltas[column];
        const unsigned bits = DROPS ? kept.of(j, e) : 0;
#pragma unroll
        for (int half = 0; half < 2; half++) {
          float &score = p[i][j][2 * half + e], &slope = dp[i][j][2 * half + e];
          const float weight = exp2_approx(score * scale - base);
          const float factor = !DROPS ? 1 : bits >> 8 * half & 1 ? kept_scale : 0;
          slope = weight * (slope * factor - delta);
          score = weight * factor;
        }
      }
  }
}

__device__ __forceinline__ void scale_and_write(Element* out, const Apart& apart, const Attention<Element>& attention,
                                                int first, float (&sums)[SLABS][GROUPS][4], float scale) {
#pragma unroll
  for (int i = 0; i < SLABS; i++)
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) sums[i][j][e] *= scale;
  write_rows(out, int(apart.token), attention.keys, attention.size, first, sums);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_mma_dkdv(const Attention<Element> attention) {
  DYNAMIC_SHARED(shared);
  __shared__ Interval seen[TILE_K];
  __shared__ HeadMasks masks;
  __shared__ Tiles tiles;  // of queries: as all that few instructions need, not in registers
  const int shift = DROPS ? attention.key % TICK : 0, group = attention.group;
  const BlockPlace place(attention.keys + shift, TILE_K, attention.heads / group);
  const int sample = place.sample, kv_head = place.head, first_key = place.first() - shift;
  unsigned char *const values = shared + TILE_K * PITCH, *const stages = values + TILE_K * PITCH;

  const Tokens k_tokens = tokens_of(attention, attention.k, attention.of_k, sample, kv_head, attention.keys);
  const Tokens v_tokens = tokens_of(attention, attention.v, attention.of_v, sample, kv_head, attention.keys);
  const TileLoader<TILE_K> k_loader(k_tokens), v_loader(v_tokens);
  k_loader.fetch(shared, first_key);
  v_loader.fetch(values, first_key);
  const int last_present = min(first_key + TILE_K, keys_in_row(attention, sample)) - 1;
  if (threadIdx.x == 0) {
    tiles = {0, 0};
    if (last_present >= max(first_key, 0))
      tiles = tiles_of({queries_of_key(attention, sample, max(first_key, 0)).begin,
                        queries_of_key(attention, sample, last_present).end}, TILE_Q, 0);
    if (DROPS) masks.set(attention, sample, kv_head * group);
  }
  if (threadIdx.x < TILE_K)
    seen[threadIdx.x] =
        queries_of_key(attention, sample, min(max(first_key + int(threadIdx.x), 0), attention.keys - 1));
  __syncthreads();
  const int row = threadIdx.x / 32 * WARP_ROWS;  // of the warp, in the tile
  const WarpSight<WARP_ROWS> sight = {seen + row};

  const int first_head = kv_head * group, total = (tiles.past - tiles.first) / TILE_Q * group;
  const Tokens q_tokens = tokens_of(attention, attention.q, attention.of_q, sample, first_head, attention.queries);
  const Tokens dy_tokens = tokens_of(attention, attention.dy, attention.of_dy, sample, first_head, attention.queries);
  const TileLoader<TILE_Q> q_loader(q_tokens, attention.of_q.head), dy_loader(dy_tokens, attention.of_dy.head);
  int next_head = 0, next_first = tiles.first;  // to be fetched
  auto fetch = [&](int number) {
    unsigned char* stage = stages + number % STAGES * STAGE_BYTES;
    if (number < total) {
      q_loader.fetch(stage, next_first, next_head * attention.of_q.head);
      dy_loader.fetch(stage + TILE_Q * PITCH, next_first, next_head * attention.of_dy.head);
      if (threadIdx.x < 2 * TILE_Q)
        copy4_async(stage + 2 * TILE_Q * PITCH + 4 * threadIdx.x,
                    (threadIdx.x < TILE_Q ? attention.log_sum_exp : attention.delta) +
                        statistics_of(attention, sample, first_head + next_head) +
                        min(next_first + int(threadIdx.x % TILE_Q), attention.queries - 1));
      next_first += TILE_Q;
      if (next_first == tiles.past) next_head++, next_first = tiles.first;
    }
    copy_commit();
  };
#pragma unroll 1
  for (int number = 0; number < STAGES - 1; number++) fetch(number);
  copy_wait<STAGES - 2>();
  k_loader.round(shared);
  v_loader.round(values);
  __syncthreads();  // keys and values have arrived
  const Lanes lanes;
  const Factor<SLABS, KEPT> k(shared, lanes, row), v(values, lanes, row);
  const float scale = attention.scale * LOG2_E, kept_scale = scale_of_kept(attention.dropout);
  float dk[SLABS][GROUPS][4] = {}, dv[SLABS][GROUPS][4] = {};

  int head = 0, first = tiles.first;
  for (int number = 0; number < total; number++) {
    unsigned char *const stage = stages + number % STAGES * STAGE_BYTES, *const dy = stage + TILE_Q * PITCH;
    copy_wait<STAGES - 2>();     // this thread's part of the tile has arrived,
    q_loader.round(stage);
    dy_loader.round(dy);
    __syncthreads();             // and that of all threads, which are done with the one before,
    fetch(number + STAGES - 1);  // so its stage is free
    const float* logs = reinterpret_cast<const float*>(dy + TILE_Q * PITCH);
    if (!sight.none(first, TILE_Q)) {
      Sums p, ds;
      multiply_rows(p, k, stage, lanes);
      if (!sight.all(first, TILE_Q)) hide(p, sight, first);
      multiply_rows(ds, v, dy, lanes);
      slopes_of_scores(p, ds, logs, logs + TILE_Q, scale, kept_scale, masks,
                       head * attention.dropout.matrix_apart + first, (first_key + shift + row) / TICK);
      add_weighted(dv, p, dy, lanes);
      add_weighted(dk, ds, stage, lanes);
    }
    first += TILE_Q;
    if (first == tiles.past) head++, first = tiles.first;
  }
  first = first_key + row;
  scale_and_write(head_of(attention.dk, attention.of_dk, sample, kv_head), attention.of_dk, attention, first, dk,
                  attention.scale);
  scale_and_write(head_of(attention.dv, attention.of_dv, sample, kv_head), attention.of_dv, attention, first, dv, 1);
}

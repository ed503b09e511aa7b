// Attention forward on tensor cores, sm_80 and later: y = softmax(scale q k^T) v, without scores in memory
// Arch: sm_80
// Shapes: q, y (N, H, S, D), k, v (N, Hk, T, D) of Element, any strides of samples, heads and tokens; log_sum_exp (N,
//     H, S) float: struct Attention of attention/attention.cuh. D up to HEAD. ELEMENT_BF16 0: float, multiplied as tf32
// Launch: grid ceil(S / TILE_Q) H N, THREADS per block, SHARED_BYTES dynamic shared memory. TILE_Q = 4 WARP_ROWS
// Roofline: 4 S T D operations a head, half of it where causal, for s (2 S + 2 T) D bytes, s = 4 or 2: compute-bound
//     from some 300 tokens up. Exponentials are a second limit: 16 a clock and multiprocessor. Oracle:
//     ops/attention.py.
// Source: Dao 2023, "FlashAttention-2", arXiv 2307.08691; Milakov and Gimelshein 2018, "Online normalizer calculation".
//     Has not run on a GPU.
//
// A block has TILE_Q queries of a head, a warp WARP_ROWS of them, and goes through the keys they see, TILE_K at a time,
// STAGES - 1 tiles of keys and values ahead. Scores and probabilities stay in registers: a warp keeps the largest score
// of each row so far and the sum of exponentials against it, and rescales both and y when a larger one comes. The heads
// of a sample follow each other, and the last queries, who see most keys, come first.
#include "attention/attention_fragments.cuh"
#include "attention/attention_masks.cuh"

#ifndef WARP_ROWS
#define WARP_ROWS 32
#define TILE_K 64
#endif
#ifndef STAGES
#define STAGES 2
#endif
#define TILE_Q (WARP_ROWS * 4)
#define SHARED_BYTES ((TILE_Q + 2 * STAGES * TILE_K) * PITCH)

constexpr int SLABS = WARP_ROWS / 16, COLUMNS = TILE_K / 8;
constexpr bool KEPT = SLABS * STEPS <= 8;  // q stays in registers
static_assert(TILE_Q == WARP_ROWS * WARPS && TILE_Q <= THREADS, "warps share the queries; a thread looks up one");
static_assert(TILE_K % 32 == 0, "masks are drawn for 32 keys at a time, or 64");
static_assert(STAGES >= 2, "one stage fills while another is read");

using Scores = float[SLABS][COLUMNS][4];

// Two rows of each slab of a warp: row 2 i of a lane is query lane / 4 of slab i, row 2 i + 1 is 8 further on.
struct Rows {
  float largest[2 * SLABS], sum[2 * SLABS];  // of scores; of this lane's exponentials
};

// Scores become exponentials, and what has been summed so far is rescaled to the same largest score.
__device__ __forceinline__ void exponentials(Scores& scores, Rows& rows, float (&y)[SLABS][GROUPS][4], float scale) {
#pragma unroll
  for (int row = 0; row < 2 * SLABS; row++) {
    float largest = rows.largest[row];
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) largest = fmaxf(largest, scores[row / 2][j][row % 2 * 2 + e]);
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
    const float base = largest == minus_infinity() ? 0 : largest * scale;  // no key so far: all exponentials are 0
    const float rescale = exp2_approx(rows.largest[row] * scale - base);
    rows.largest[row] = largest;
    float sum = rows.sum[row] * rescale;
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float& score = scores[row / 2][j][row % 2 * 2 + e];
        score = exp2_approx(score * scale - base);
        sum += score;
      }
    rows.sum[row] = sum;
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) y[row / 2][j][row % 2 * 2 + e] *= rescale;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_mma(const Attention<Element> attention) {
  DYNAMIC_SHARED(shared);
  __shared__ Interval seen[TILE_Q];
  __shared__ HeadMasks masks;
  const BlockPlace place(attention.queries, TILE_Q, attention.heads);
  const int sample = place.sample, head = place.head, first_query = place.last_first();
  const int kv_head = head / attention.group, last_query = attention.queries - 1;
  const Tokens queries = tokens_of(attention, attention.q, attention.of_q, sample, head, attention.queries);
  const Tokens keys = tokens_of(attention, attention.k, attention.of_k, sample, kv_head, attention.keys);
  const Tokens values = tokens_of(attention, attention.v, attention.of_v, sample, kv_head, attention.keys);
  unsigned char* const stages = shared + TILE_Q * PITCH;

  const TileLoader<TILE_Q> q_loader(queries);
  q_loader.fetch(shared, first_query);
  if (DROPS && threadIdx.x == 0) masks.set(attention, sample, head);
  if (threadIdx.x < TILE_Q)
    seen[threadIdx.x] = keys_of_query(attention, sample, min(first_query + int(threadIdx.x), last_query));
  __syncthreads();
  const int row = threadIdx.x / 32 * WARP_ROWS;  // of the warp, in the tile
  const WarpSight<WARP_ROWS> sight = {seen + row};
  const Tiles tiles = tiles_of({seen[0].begin, seen[TILE_Q - 1].end}, TILE_K, DROPS ? attention.key % TICK : 0);
  const KeyTiles<TILE_K, STAGES> key_tiles(stages, keys, values, tiles);
  Rows rows;
#pragma unroll
  for (int i = 0; i < 2 * SLABS; i++) rows.largest[i] = minus_infinity(), rows.sum[i] = 0;

  key_tiles.begin();
  q_loader.round(shared);
  __syncthreads();  // the queries have arrived
  const Lanes lanes;
  const Factor<SLABS, KEPT> q(shared, lanes, row);
  const float scale = attention.scale * LOG2_E;
  float y[SLABS][GROUPS][4] = {};

  for (int tile = 0; tile < key_tiles.count(); tile++) {
    unsigned char *const keys_here = key_tiles.arrive(tile), *const values_here = keys_here + key_tiles.VALUES;
    const int first = key_tiles.first_key(tile);
    if (sight.none(first, TILE_K)) continue;
    Scores scores;
    multiply_rows(scores, q, keys_here, lanes);
    if (!sight.all(first, TILE_K)) hide(scores, sight, first);
    exponentials(scores, rows, y, scale);
    if (DROPS) drop_keys(scores, masks, first_query + row, (first + attention.key % TICK) / TICK);
    add_weighted(y, scores, values_here, lanes);
  }

  float* const log_sum_exp = attention.log_sum_exp + statistics_of(attention, sample, head);
#pragma unroll
  for (int i = 0; i < 2 * SLABS; i++) {
    float sum = rows.sum[i] + __shfl_xor_sync(~0u, rows.sum[i], 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    const int query = first_query + row + row_of(i);
    if (threadIdx.x % 4 == 0 && query < attention.queries)
      log_sum_exp[query] = sum == 0 ? minus_infinity() : rows.largest[i] * attention.scale + logf(sum);
    const float share = sum == 0 ? 0 : (DROPS ? scale_of_kept(attention.dropout) : 1) / sum;  // NaN stays
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) y[i / 2][j][i % 2 * 2 + e] *= share;
  }
  write_rows(head_of(attention.y, attention.of_y, sample, head), int(attention.of_y.token), attention.queries,
             attention.size, first_query + row, y);
}

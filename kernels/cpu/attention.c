// Attention: y = p v, p = softmax(scale q k^T), one block of queries at a time, whose scores fit into the cache.
//
// All arrays are (N, heads, length, D) with contiguous rows of D numbers: heads may be parts of the rows of a wider array,
// as a linear layer writes them. Scores, probabilities and their gradients never leave the cache: forward keeps the
// logarithm of each row's sum, from which backward makes them again. The keys that a query sees are a run of neighbors
// (up to it where ``causal``, up to ``lengths`` of the sample, those of its segment); others are not looked at, but for
// those that share a panel with them. A query that sees none gives 0. Queries and keys are tokens of rows that may be
// longer (``query``, ``key``): what they see, and their masks of dropout, go by their numbers there.
//
// Legend: S queries, T keys; H heads in groups that share one of Hk heads of keys and values; ld floats from row to row
// of scores. Compute-bound. Products are tiles (tile.h).
// Source: Vaswani et al. 2017, arXiv 1706.03762; Dao et al. 2022, arXiv 2205.14135. Oracle: ops/attention.py.
#include <math.h>

#define BLOCK_ROWS 48      // queries of a block, at most
#define CAUSAL_ROWS 24     // where a longer block would look at many keys that most of it does not see
#define BLOCK_SCORES 65536 // numbers of a block, where there are many keys

typedef struct {
    float *f;
    long n, h, row; // floats from sample to sample, head to head, row to row
} Heads;

// Keys from first up to stop, which a query sees, or some queries; none where stop is first
typedef struct {
    int first, stop;
} Keys;

typedef struct {
    Heads q, k, v, y, dy, dq, dk, dv;
    float *log_sum_exp;
    Keys *seen;                              // (N, S)
    long N, H, Hk, group, S, T, D, ld, rows; // rows: of a block; group: H / Hk
    long query, key, length;                 // the first query and key are these of so many tokens
    long sample_apart, head_apart;           // rows of the mask
    const float *delta;                      // sums of y dy, (N, H, S); 0 for those of p dp
    float scale;
    Masks masks;
} Attention;

// The memory of one thread
typedef struct {
    float *keys, *values;                    // (D, T), in panels: transposed for scores, and for their gradient
    float *key_rows, *value_rows;            // (T, D), in panels, where rows are not whole panels
    float *query_rows, *slope_rows;          // (rows, D), the same
    float *scores, *slopes;                  // (rows, ld)
    float *factors;                          // (ld + TICK): of dropout, of one row
} Room;

static int heads_of(const Arg *a, Heads *x) {
    COVER(a->ndim == 4 && (a->stride[3] == 4 || a->dim[3] == 1));
    for (int d = 0; d < 3; d++) COVER(a->stride[d] % 4 == 0);
    *x = (Heads){a->f, a->stride[0] / 4, a->stride[1] / 4, a->stride[2] / 4};
    return 1;
}

static int has_shape(const Arg *x, long N, long heads, long length, long D) {
    return x->dim[0] == N && x->dim[1] == heads && x->dim[2] == length && x->dim[3] == D;
}

INLINE float *head(const Heads *x, long n, long h) {
    return x->f + n * x->n + h * x->h;
}

// Write the keys that each query sees: its own, as a token, is ``query`` + its number
static int find_keys(const Attention *at, int causal, const int64_t *lengths, const int64_t *segments) {
    for (long n = 0; n < at->N; n++, segments += segments ? at->length : 0) {
        const int64_t *of_keys = segments + (segments ? at->key : 0);
        const long keys = lengths ? MAX(0, MIN(at->T, lengths[n] - at->key)) : at->T;
        long first = 0, end = 0; // of the segment
        for (long t = 1; segments && t < at->length; t++) COVER(segments[t] >= segments[t - 1]);
        for (long s = 0; s < at->S; s++) {
            const long own = at->query + s;
            long stop = causal ? MAX(0, MIN(keys, own + 1 - at->key)) : keys;
            if (segments) {
                while (first < at->T && of_keys[first] < segments[own]) first++;
                for (end = MAX(end, first); end < at->T && of_keys[end] == segments[own];) end++;
                stop = MIN(stop, end);
            }
            at->seen[n * at->S + s] = (Keys){(int)first, (int)MAX(first, stop)};
        }
    }
    return 1;
}

// The keys that any of the queries from ``begin`` up to ``end`` sees; the first is one of a panel
static Keys keys_of(const Keys *seen, long begin, long end) {
    Keys all = {0, 0};
    for (long s = begin; s < end; s++)
        if (seen[s].first < seen[s].stop)
            all = all.stop ? (Keys){MIN(all.first, seen[s].first), MAX(all.stop, seen[s].stop)} : seen[s];
    all.first -= all.first % PANEL;
    return all;
}

static long room_floats(const Attention *at, int backward) {
    const long turned = panels_size(at->D, at->T), rows = panels_size(at->T, at->D), some = panels_size(at->rows, at->D);
    return at->ld + TICK + (backward ? 2 * turned + rows + 2 * some + 2 * at->rows * at->ld : turned + rows + at->rows * at->ld);
}

static Room room_of(const Attention *at, int piece, int backward) {
    const long turned = panels_size(at->D, at->T), rows = panels_size(at->T, at->D), some = panels_size(at->rows, at->D);
    float *factors = scratch(piece, 0, 4 * room_floats(at, backward)), *keys = factors + at->ld + TICK, *next = keys + turned;
    if (!backward) return (Room){.keys = keys, .value_rows = next, .scores = next + rows, .factors = factors};
    Room r = {.keys = keys, .values = next, .key_rows = next + turned, .factors = factors};
    r.query_rows = r.key_rows + rows, r.slope_rows = r.query_rows + some, r.scores = r.slope_rows + some;
    r.slopes = r.scores + at->rows * at->ld;
    return r;
}

// The right factor of a product, rows of D numbers: in place, or copied to ``panels``
typedef struct {
    const float *f;
    long row, panel, first; // floats from row to row (0: as wide as the panel), and from panel to panel; the first row
} Rows;

static Rows rows_of(const float *b, long count, long D, long step, float *panels) {
    if (whole_panels(D)) return (Rows){b, step, PANEL, 0};
    pack_panels(b, count, D, step, panels);
    return (Rows){panels, 0, count * PANEL, 0};
}

// The rows from number ``first`` on
INLINE Rows rows_from(Rows b, long first) {
    b.first = first;
    return b;
}

// c = a b, of ``rows`` rows, with the sum over ``count`` rows of b: rows of a are summed over (walk), or its columns,
// and then c is added to
static void heads_product(const float *a, long ld, Rows b, long count, float *c, long ct, long rows, long D, int walk) {
    for (long d = 0; d < D; d += PANEL) {
        const long step = b.row ? b.row : panel_width(D - d);
        const Tile q = {
            .a = a, .at = ld, .ak = ld, .H = 1, .K = count, .b = b.f + d / PANEL * b.panel + b.first * step, .bk = step, .c = c + d, .ct = ct, .first = walk ? 0 : c + d, .first_step = ct,
            .width = MIN(PANEL, D - d),
        };
        run_tiles(q, rows, walk);
    }
}

// scores (rows, ld) = a (rows, D) times the transposed panels of T keys, of those in ``keys``
static void scores_of(const float *a, long step, const float *panels, long T, long D, Keys keys, float *scores, long ld,
                      long rows) {
    for (long t = keys.first; t < keys.stop; t += PANEL) {
        const Tile q = {
            .a = a, .at = step, .H = 1, .K = D, .b = panels + t * D, .bk = panel_width(T - t), .c = scores + t, .ct = ld,
            .width = MIN(PANEL, T - t),
        };
        run_tiles(q, rows, 1);
    }
}

// Of a row of scores, those of keys that are in ``block`` but not in ``seen``
static void clear_unseen(float *row, Keys seen, Keys block) {
    clear(row + block.first, seen.first - block.first);
    clear(row + seen.stop, block.stop - seen.stop);
}

// The factors of dropout for the keys that a query sees, at their places in a row; 0 where nothing is dropped
static const float *dropped(const Attention *at, const Room *r, long n, long h, long s, Keys seen) {
    if (!at->masks.threshold) return 0;
    const long row = at->masks.first + n * at->sample_apart + h * at->head_apart + s, shift = at->key % TICK;
    factors_of(&at->masks, row, at->length, at->key - shift, shift + seen.first, shift + seen.stop, r->factors);
    return r->factors + shift + seen.first;
}

// Turn the scores of keys that query s sees, in ``row``, into probabilities but for a factor, which is returned
static float probabilities(const Attention *at, const Room *r, long n, long h, long s, Keys seen, float *row) {
    float *first = row + seen.first, most = 0, total = 1;
    const long some = seen.stop - seen.first;
    if (some) {
        most = largest(first, some);
        if (most == -INFINITY) most = 0;
        total = exponentials(first, some, most, at->scale, first);
        total = total < 1 ? 1 : total; // the largest gives 1; less where all are -infinity
        const float *factors = dropped(at, r, n, h, s, seen);
        if (factors)
            EACH for (long k = 0; k < some; k++) first[k] *= factors[k];
    }
    at->log_sum_exp[(n * at->H + h) * at->S + s] = some ? most * at->scale + logf(total) : -INFINITY;
    return 1 / total;
}

// One query, of a text that is being written: keys and values are read where they are, since packing them would take
// longer than the products. A single key is left to blocks, whose scores are those of backward to the bit
static int is_alone(const Attention *at, long n) {
    return at->S == 1 && at->seen[n].stop - at->seen[n].first > 1;
}

static void attention_query(const Attention *at, const Room *r, long n, long h) {
    const Keys seen = at->seen[n];
    const long hk = h / at->group, D = at->D;
    const float *q = head(&at->q, n, h), *k = head(&at->k, n, hk), *v = head(&at->v, n, hk);
    float *y = head(&at->y, n, h), *p = r->scores;
    for (long t = seen.first; t < seen.stop; t++) p[t] = dot(q, k + t * at->k.row, D);
    const float scale = probabilities(at, r, n, h, 0, seen, p);
    clear(y, D);
    for (long t = seen.first; t < seen.stop; t++)
        EACH for (long d = 0; d < D; d++) y[d] += p[t] * v[t * at->v.row + d];
    EACH for (long d = 0; d < D; d++) y[d] *= scale;
}

// ``count``: keys of the sample that are in panels
static void attention_block(const Attention *at, const Room *r, long n, long h, long begin, long end, long count, Rows v) {
    const Keys *seen = at->seen + n * at->S, keys = keys_of(seen, begin, end);
    float *y = head(&at->y, n, h) + begin * at->y.row, scales[BLOCK_ROWS];
    scores_of(head(&at->q, n, h) + begin * at->q.row, at->q.row, r->keys, count, at->D, keys, r->scores, at->ld, end - begin);
    for (long s = begin; s < end; s++) {
        float *row = r->scores + (s - begin) * at->ld;
        scales[s - begin] = probabilities(at, r, n, h, s, seen[s], row);
        if (seen[s].first < seen[s].stop)
            clear_unseen(row, seen[s], keys);
        else
            clear(row + keys.first, keys.stop - keys.first);
    }
    heads_product(r->scores + keys.first, at->ld, rows_from(v, keys.first), keys.stop - keys.first, y, at->y.row,
                  end - begin, at->D, 1);
    for (long s = 0; s < end - begin; s++, y += at->y.row)
        EACH for (long d = 0; d < at->D; d++) y[d] *= scales[s];
}

static void attention_part(const void *context, long begin, long end, int piece) {
    const Attention *at = context;
    const Room r = room_of(at, piece, 0);
    const long blocks = (at->S + at->rows - 1) / at->rows;
    Rows v = {0};
    long count = 0;
    for (long item = begin; item < end; item++) {
        const long n = item / at->H, h = item % at->H, hk = h / at->group;
        if (is_alone(at, n)) {
            attention_query(at, &r, n, h);
            continue;
        }
        if (item == begin || h % at->group == 0) {
            count = keys_of(at->seen + n * at->S, 0, at->S).stop;
            pack_turned(head(&at->k, n, hk), count, at->D, at->k.row, r.keys);
            v = rows_of(head(&at->v, n, hk), count, at->D, at->v.row, r.value_rows);
        }
        for (long b = 0; b < blocks; b++)
            attention_block(at, &r, n, h, at->S * b / blocks, at->S * (b + 1) / blocks, count, v);
    }
}

// Sizes and the common data of all rows; how: scale, causal, lengths, segments, those of dropout, and of the block
static int attention_of(const Arg *q, const Arg *k, const Arg *v, const Arg *log_sum_exp, const Arg *how, Attention *at) {
    COVER(heads_of(q, &at->q) && heads_of(k, &at->k) && heads_of(v, &at->v));
    at->N = q->dim[0], at->H = q->dim[1], at->S = q->dim[2], at->T = k->dim[2], at->D = q->dim[3], at->Hk = k->dim[1];
    COVER(at->D && at->T && at->T < 1L << 31 && at->Hk && at->H % at->Hk == 0);
    COVER(has_shape(k, at->N, at->Hk, at->T, at->D) && has_shape(v, at->N, at->Hk, at->T, at->D));
    COVER(log_sum_exp->size == at->N * at->H * at->S && (!how[2].l || how[2].size == at->N));
    at->query = how[9].i, at->key = how[10].i, at->length = how[11].i;
    at->sample_apart = how[12].i, at->head_apart = how[13].i;
    COVER(at->key >= 0 && at->key + at->T <= at->length);
    COVER(!how[3].l || (how[3].size == at->N * at->length && at->query >= 0 && at->query + at->S <= at->length));
    at->group = at->H / at->Hk, at->log_sum_exp = log_sum_exp->f, at->scale = (float)how[0].x;
    at->ld = spread((at->T + TICK - 1) / TICK * TICK), at->masks = masks_of(how + 4);
    const int causal = (int)how[1].i;
    at->rows = MAX(12, MIN(causal || how[3].l ? CAUSAL_ROWS : BLOCK_ROWS, BLOCK_SCORES / MAX(1, at->ld) / 12 * 12));
    at->seen = scratch(0, 1, sizeof(Keys) * MAX(1, at->N * at->S));
    COVER(at->seen);
    return find_keys(at, causal, how[2].l, how[3].l);
}

static int attention_memory(const Attention *at, int backward) {
    for (int t = 0; t < num_threads(); t++) COVER(scratch(t, 0, 4 * room_floats(at, backward)));
    return 1;
}

// q, k, v, y, log_sum_exp, scale, causal, lengths, segments, threshold, seed, layer, step, row, query, key, length,
// sample_apart, head_apart
KERNEL(attention) {
    Attention at = {.N = 0};
    COVER(attention_of(&a[0], &a[1], &a[2], &a[4], &a[5], &at));
    COVER(heads_of(&a[3], &at.y) && has_shape(&a[3], at.N, at.H, at.S, at.D) && attention_memory(&at, 0));
    parallel(attention_part, &at, at.N * at.H, at.S * at.T * (4.0 * at.D / 50 + 1));
    return 1;
}

// Turn ``count`` scores into probabilities p, and their slopes dp into those of the scores, p (dp - delta) scale, where
// delta is the sum of p dp unless given. With factors of dropout, dp are those of p times its factor, which is written
// instead of p
static void slopes_of(float *p, float *dp, const float *factors, long count, float scale, float log, const float *delta) {
    vec total = {};
    if (factors)
        EACH for (long k = 0; k < count; k++) dp[k] *= factors[k];
    for (long k = 0; k < count; k += WIDTH) {
        const vec power = exp_of(load_some(p + k, count - k) * scale - log);
        store_some(p + k, power, count - k);
        total += choose(first_lanes(count - k), power * load_some(dp + k, count - k), (vec){});
    }
    const float mean = delta ? *delta : sum(total);
    EACH for (long k = 0; k < count; k++) dp[k] = p[k] * (dp[k] - mean) * scale;
    if (factors)
        EACH for (long k = 0; k < count; k++) p[k] *= factors[k];
}

static void attention_dx_block(const Attention *at, const Room *r, long n, long h, long begin, long end, long count, Rows k) {
    const Keys *seen = at->seen + n * at->S, keys = keys_of(seen, begin, end);
    const long rows = end - begin, D = at->D, some = keys.stop - keys.first, hk = h / at->group;
    const float *q = head(&at->q, n, h) + begin * at->q.row, *dy = head(&at->dy, n, h) + begin * at->dy.row;
    scores_of(q, at->q.row, r->keys, count, D, keys, r->scores, at->ld, rows);
    scores_of(dy, at->dy.row, r->values, count, D, keys, r->slopes, at->ld, rows);
    for (long s = begin; s < end; s++) {
        float *p = r->scores + (s - begin) * at->ld, *dp = r->slopes + (s - begin) * at->ld;
        const Keys own = seen[s].first < seen[s].stop ? seen[s] : (Keys){keys.first, keys.first};
        const long row = (n * at->H + h) * at->S + s;
        slopes_of(p + own.first, dp + own.first, dropped(at, r, n, h, s, own), own.stop - own.first, at->scale,
                  at->log_sum_exp[row], at->delta ? at->delta + row : 0);
        clear_unseen(p, own, keys);
        clear_unseen(dp, own, keys);
    }
    const float *scores = r->scores + keys.first, *ds = r->slopes + keys.first;
    heads_product(ds, at->ld, rows_from(k, keys.first), some, head(&at->dq, n, h) + begin * at->dq.row, at->dq.row, rows, D,
                  1);
    const Rows slopes = rows_of(dy, rows, D, at->dy.row, r->slope_rows), queries = rows_of(q, rows, D, at->q.row, r->query_rows);
    float *dv = head(&at->dv, n, hk) + keys.first * at->dv.row, *dk = head(&at->dk, n, hk) + keys.first * at->dk.row;
    heads_product(scores, at->ld, slopes, rows, dv, at->dv.row, some, D, 0);
    heads_product(ds, at->ld, queries, rows, dk, at->dk.row, some, D, 0);
}

static void attention_dx_part(const void *context, long begin, long end, int piece) {
    const Attention *at = context;
    const Room r = room_of(at, piece, 1);
    const long blocks = (at->S + at->rows - 1) / at->rows;
    for (long item = begin; item < end; item++) {
        const long n = item / at->Hk, hk = item % at->Hk, count = keys_of(at->seen + n * at->S, 0, at->S).stop;
        float *dk = head(&at->dk, n, hk), *dv = head(&at->dv, n, hk);
        for (long t = 0; t < at->T; t++) clear(dk + t * at->dk.row, at->D), clear(dv + t * at->dv.row, at->D);
        pack_turned(head(&at->k, n, hk), count, at->D, at->k.row, r.keys);
        pack_turned(head(&at->v, n, hk), count, at->D, at->v.row, r.values);
        const Rows k = rows_of(head(&at->k, n, hk), count, at->D, at->k.row, r.key_rows);
        for (long h = hk * at->group; h < (hk + 1) * at->group; h++)
            for (long b = 0; b < blocks; b++)
                attention_dx_block(at, &r, n, h, at->S * b / blocks, at->S * (b + 1) / blocks, count, k);
    }
}

// dy, q, k, v, log_sum_exp, dq, dk, dv, scale, causal, lengths, segments, threshold, seed, layer, step, row, query, key,
// length, sample_apart, head_apart, delta
KERNEL(attention_dx) {
    Attention at = {.N = 0};
    COVER(attention_of(&a[1], &a[2], &a[3], &a[4], &a[8], &at) && heads_of(&a[0], &at.dy) && heads_of(&a[5], &at.dq));
    COVER(heads_of(&a[6], &at.dk) && heads_of(&a[7], &at.dv) && has_shape(&a[0], at.N, at.H, at.S, at.D));
    COVER(has_shape(&a[5], at.N, at.H, at.S, at.D) && has_shape(&a[6], at.N, at.Hk, at.T, at.D));
    COVER(has_shape(&a[7], at.N, at.Hk, at.T, at.D) && attention_memory(&at, 1));
    COVER(!a[22].f || a[22].size == at.N * at.H * at.S);
    at.delta = a[22].f;
    parallel(attention_dx_part, &at, at.N * at.Hk, at.group * at.S * at.T * (10.0 * at.D / 50 + 1.5));
    return 1;
}

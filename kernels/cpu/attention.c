// Attention: y = p v, p = softmax(scale q k^T), one block of queries at a time, whose scores fit into the cache.
//
// All arrays are (N, H, length, D) with contiguous rows of D numbers: heads may be parts of the rows of a wider array,
// as a linear layer writes them. Scores, probabilities and their gradients never leave the cache: forward keeps the
// logarithm of each row's sum, from which backward makes them again. Keys that a query does not see (behind it where
// ``causal``, from ``lengths`` of the sample on) are not looked at; a query that sees none gives 0.
//
// Legend: S queries, T keys; ld floats from row to row of scores. Compute-bound. Products are tiles (tile.h).
// Source: Vaswani et al. 2017, arXiv 1706.03762; Dao et al. 2022, arXiv 2205.14135. Oracle: ops/attention.py.
#include <math.h>

#define BLOCK_ROWS 48      // queries of a block, at most
#define CAUSAL_ROWS 24     // where a longer block would look at many keys that most of it does not see
#define BLOCK_SCORES 65536 // numbers of a block, where there are many keys

typedef struct {
    float *f;
    long n, h, row; // floats from sample to sample, head to head, row to row
} Heads;

typedef struct {
    Heads q, k, v, y, dy, dq, dk, dv;
    float *log_sum_exp;
    const int64_t *lengths;
    long N, H, S, T, D, ld, rows; // rows: of a block
    float scale;
    int causal;
} Attention;

// The memory of one thread
typedef struct {
    float *keys, *values;                    // (D, T), in panels: transposed for scores, and for their gradient
    float *key_rows, *value_rows;            // (T, D), in panels, where rows are not whole panels
    float *query_rows, *slope_rows;          // (rows, D), the same
    float *scores, *slopes;                  // (rows, ld)
} Room;

static int heads_of(const Arg *a, Heads *x) {
    COVER(a->ndim == 4 && (a->stride[3] == 4 || a->dim[3] == 1));
    for (int d = 0; d < 3; d++) COVER(a->stride[d] % 4 == 0);
    *x = (Heads){a->f, a->stride[0] / 4, a->stride[1] / 4, a->stride[2] / 4};
    return 1;
}

static int same_heads(const Arg *x, const Arg *y, long length) {
    return y->dim[0] == x->dim[0] && y->dim[1] == x->dim[1] && y->dim[2] == length && y->dim[3] == x->dim[3];
}

INLINE float *head(const Heads *x, long item, long H) {
    return x->f + item / H * x->n + item % H * x->h;
}

// The keys that queries up to ``query`` of a head see
static long keys_seen(const Attention *at, long item, long query) {
    const long keys = at->lengths ? MAX(0, MIN(at->T, at->lengths[item / at->H])) : at->T;
    return at->causal ? MIN(keys, query + 1) : keys;
}

static long room_floats(const Attention *at, int backward) {
    const long turned = panels_size(at->D, at->T), rows = panels_size(at->T, at->D), some = panels_size(at->rows, at->D);
    return backward ? 2 * turned + rows + 2 * some + 2 * at->rows * at->ld : turned + rows + at->rows * at->ld;
}

static Room room_of(const Attention *at, int piece, int backward) {
    const long turned = panels_size(at->D, at->T), rows = panels_size(at->T, at->D), some = panels_size(at->rows, at->D);
    float *keys = scratch(piece, 0, 4 * room_floats(at, backward)), *next = keys + turned;
    if (!backward) return (Room){.keys = keys, .value_rows = next, .scores = next + rows};
    Room r = {.keys = keys, .values = next, .key_rows = next + turned};
    r.query_rows = r.key_rows + rows, r.slope_rows = r.query_rows + some, r.scores = r.slope_rows + some;
    r.slopes = r.scores + at->rows * at->ld;
    return r;
}

// Copy the transpose of b (T, D), rows ``step`` apart, into panels of keys
static void pack_turned(const float *b, long T, long D, long step, float *panels) {
    for (long t = 0; t < T; t += PANEL) {
        const long n = MIN(PANEL, T - t), width = panel_width(T - t), fours = n / 4 * 4;
        for (long d = 0; d < D; d += 4) {
            const long last = MIN(D, d + 4), whole = d + 4 <= D ? fours : 0;
            for (long j = 0; j < whole; j += 4) transpose_4x4(b + (t + j) * step + d, step, panels + d * width + j, width);
            for (long e = d; e < last; e++)
                for (long j = whole; j < width; j++) panels[e * width + j] = j < n ? b[(t + j) * step + e] : 0;
        }
        panels += D * width;
    }
}

// The right factor of a product, rows of D numbers: in place, or copied to ``panels``
typedef struct {
    const float *f;
    long row, panel; // floats from row to row (0: as wide as the panel), and from panel to panel
} Rows;

static Rows rows_of(const float *b, long count, long D, long step, float *panels) {
    if (whole_panels(D)) return (Rows){b, step, PANEL};
    pack_panels(b, count, D, step, panels);
    return (Rows){panels, 0, count * PANEL};
}

// c = a b, of ``rows`` rows, with the sum over ``count`` rows of b: rows of a are summed over (walk), or its columns,
// and then c is added to
static void heads_product(const float *a, long ld, Rows b, long count, float *c, long ct, long rows, long D, int walk) {
    for (long d = 0; d < D; d += PANEL) {
        const Tile q = {
            .a = a, .at = ld, .ak = ld, .H = 1, .K = count, .b = b.f + d / PANEL * b.panel,
            .bk = b.row ? b.row : panel_width(D - d), .c = c + d, .ct = ct, .first = walk ? 0 : c + d, .first_step = ct,
            .width = MIN(PANEL, D - d),
        };
        run_tiles(q, rows, walk);
    }
}

// scores (rows, ld) = a (rows, D) times the transposed panels of T keys, the first ``count`` of them
static void scores_of(const float *a, long step, const float *panels, long T, long D, long count, float *scores, long ld,
                      long rows) {
    for (long t = 0; t < count; t += PANEL) {
        const Tile q = {
            .a = a, .at = step, .H = 1, .K = D, .b = panels + t * D, .bk = panel_width(T - t), .c = scores + t, .ct = ld,
            .width = MIN(PANEL, T - t),
        };
        run_tiles(q, rows, 1);
    }
}

static void attention_block(const Attention *at, const Room *r, long item, long begin, long end, Rows v) {
    const long keys = keys_seen(at, item, at->S), reach = keys_seen(at, item, end - 1);
    float *y = head(&at->y, item, at->H) + begin * at->y.row, scales[BLOCK_ROWS];
    scores_of(head(&at->q, item, at->H) + begin * at->q.row, at->q.row, r->keys, keys, at->D, reach, r->scores, at->ld,
              end - begin);
    for (long s = begin; s < end; s++) {
        float *row = r->scores + (s - begin) * at->ld, most = 0;
        const long seen = keys_seen(at, item, s);
        if (seen) most = largest(row, seen);
        if (most == -INFINITY) most = 0;
        float total = exponentials(row, seen, most, at->scale, row);
        total = total < 1 ? 1 : total; // the largest gives 1; less where nothing is seen
        clear(row + seen, reach - seen);
        at->log_sum_exp[item * at->S + s] = most * at->scale + logf(total);
        scales[s - begin] = 1 / total;
    }
    heads_product(r->scores, at->ld, v, reach, y, at->y.row, end - begin, at->D, 1);
    for (long s = 0; s < end - begin; s++, y += at->y.row)
        EACH for (long d = 0; d < at->D; d++) y[d] *= scales[s];
}

static void attention_part(const void *context, long begin, long end, int piece) {
    const Attention *at = context;
    const Room r = room_of(at, piece, 0);
    const long blocks = (at->S + at->rows - 1) / at->rows;
    for (long item = begin; item < end; item++) {
        const long keys = keys_seen(at, item, at->S);
        pack_turned(head(&at->k, item, at->H), keys, at->D, at->k.row, r.keys);
        const Rows v = rows_of(head(&at->v, item, at->H), keys, at->D, at->v.row, r.value_rows);
        for (long b = 0; b < blocks; b++)
            attention_block(at, &r, item, at->S * b / blocks, at->S * (b + 1) / blocks, v);
    }
}

// Sizes and the common data of all rows; how: scale, causal, lengths
static int attention_of(const Arg *q, const Arg *k, const Arg *v, const Arg *log_sum_exp, const Arg *how, Attention *at) {
    COVER(heads_of(q, &at->q) && heads_of(k, &at->k) && heads_of(v, &at->v));
    at->N = q->dim[0], at->H = q->dim[1], at->S = q->dim[2], at->T = k->dim[2], at->D = q->dim[3];
    COVER(at->D && at->T && same_heads(q, k, at->T) && same_heads(q, v, at->T));
    COVER(log_sum_exp->size == at->N * at->H * at->S);
    COVER(!how[2].l || how[2].size == at->N);
    at->log_sum_exp = log_sum_exp->f, at->scale = (float)how[0].x, at->causal = (int)how[1].i, at->lengths = how[2].l;
    at->ld = spread(at->T);
    at->rows = MAX(12, MIN(at->causal ? CAUSAL_ROWS : BLOCK_ROWS, BLOCK_SCORES / MAX(1, at->ld) / 12 * 12));
    return 1;
}

static int attention_memory(const Attention *at, int backward) {
    for (int t = 0; t < num_threads(); t++) COVER(scratch(t, 0, 4 * room_floats(at, backward)));
    return 1;
}

KERNEL(attention) { // q, k, v, y, log_sum_exp, scale, causal, lengths
    Attention at = {.N = 0};
    COVER(attention_of(&a[0], &a[1], &a[2], &a[4], &a[5], &at));
    COVER(heads_of(&a[3], &at.y) && same_heads(&a[0], &a[3], at.S) && attention_memory(&at, 0));
    parallel(attention_part, &at, at.N * at.H, at.S * at.T * (4.0 * at.D / 50 + 1));
    return 1;
}

// Turn a row of scores into probabilities p, and their slopes dp into those of the scores, p (dp - sum of p dp) scale
static void slopes_of(float *p, float *dp, long seen, long reach, float scale, float log) {
    vec total = {};
    for (long k = 0; k < seen; k += WIDTH) {
        const vec power = exp_of(load_some(p + k, seen - k) * scale - log);
        store_some(p + k, power, seen - k);
        total += choose(first_lanes(seen - k), power * load_some(dp + k, seen - k), (vec){});
    }
    const float mean = sum(total);
    EACH for (long k = 0; k < seen; k++) dp[k] = p[k] * (dp[k] - mean) * scale;
    clear(p + seen, reach - seen);
    clear(dp + seen, reach - seen);
}

static void attention_dx_block(const Attention *at, const Room *r, long item, long begin, long end, Rows k) {
    const long keys = keys_seen(at, item, at->S), reach = keys_seen(at, item, end - 1), rows = end - begin, D = at->D;
    const float *q = head(&at->q, item, at->H) + begin * at->q.row, *dy = head(&at->dy, item, at->H) + begin * at->dy.row;
    scores_of(q, at->q.row, r->keys, keys, D, reach, r->scores, at->ld, rows);
    scores_of(dy, at->dy.row, r->values, keys, D, reach, r->slopes, at->ld, rows);
    for (long s = begin; s < end; s++) {
        const long place = (s - begin) * at->ld;
        const float log_sum_exp = at->log_sum_exp[item * at->S + s];
        slopes_of(r->scores + place, r->slopes + place, keys_seen(at, item, s), reach, at->scale, log_sum_exp);
    }
    heads_product(r->slopes, at->ld, k, reach, head(&at->dq, item, at->H) + begin * at->dq.row, at->dq.row, rows, D, 1);
    const Rows slopes = rows_of(dy, rows, D, at->dy.row, r->slope_rows), queries = rows_of(q, rows, D, at->q.row, r->query_rows);
    heads_product(r->scores, at->ld, slopes, rows, head(&at->dv, item, at->H), at->dv.row, reach, D, 0);
    heads_product(r->slopes, at->ld, queries, rows, head(&at->dk, item, at->H), at->dk.row, reach, D, 0);
}

static void attention_dx_part(const void *context, long begin, long end, int piece) {
    const Attention *at = context;
    const Room r = room_of(at, piece, 1);
    const long blocks = (at->S + at->rows - 1) / at->rows;
    for (long item = begin; item < end; item++) {
        const long keys = keys_seen(at, item, at->S);
        float *dk = head(&at->dk, item, at->H), *dv = head(&at->dv, item, at->H);
        for (long t = 0; t < at->T; t++) clear(dk + t * at->dk.row, at->D), clear(dv + t * at->dv.row, at->D);
        pack_turned(head(&at->k, item, at->H), keys, at->D, at->k.row, r.keys);
        pack_turned(head(&at->v, item, at->H), keys, at->D, at->v.row, r.values);
        const Rows k = rows_of(head(&at->k, item, at->H), keys, at->D, at->k.row, r.key_rows);
        for (long b = 0; b < blocks; b++)
            attention_dx_block(at, &r, item, at->S * b / blocks, at->S * (b + 1) / blocks, k);
    }
}

KERNEL(attention_dx) { // dy, q, k, v, log_sum_exp, dq, dk, dv, scale, causal, lengths
    Attention at = {.N = 0};
    COVER(attention_of(&a[1], &a[2], &a[3], &a[4], &a[8], &at) && heads_of(&a[0], &at.dy) && heads_of(&a[5], &at.dq));
    COVER(heads_of(&a[6], &at.dk) && heads_of(&a[7], &at.dv) && same_heads(&a[1], &a[0], at.S));
    COVER(same_heads(&a[1], &a[5], at.S) && same_heads(&a[1], &a[6], at.T) && same_heads(&a[1], &a[7], at.T));
    COVER(attention_memory(&at, 1));
    parallel(attention_dx_part, &at, at.N * at.H, at.S * at.T * (10.0 * at.D / 50 + 1.5));
    return 1;
}

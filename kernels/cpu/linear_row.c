// A linear map of one row, as a model that writes a text computes for each token. Bound by memory: the weights are read
// once, in runs as long as they go. Each sum has the order, and so the bits, of the product of many rows (linear.c).

#define ROW_CHUNK 64 // outputs of a unit of work
#define ROW_STEP 8   // rows of w that are read side by side
#define ROW_LANES 16 // rows of w whose sums with one row run side by side

typedef struct {
    const float *x, *w, *b;
    float *y;
    long K, O; // inputs and outputs
    int relu;
} Row;

// y += x w, of ``count`` rows of w and columns from ``begin`` up to ``end``
INLINE void add_rows(const Row *p, const float *x, const float *w, const int count, long begin, long end) {
    for (long o = begin; o < end; o += WIDTH) {
        vec y = load_some(p->y + o, end - o);
        UNROLL for (int k = 0; k < count; k++) y += x[k] * load_some(w + k * p->O + o, end - o);
        store_some(p->y + o, y, end - o);
    }
}

static void row_part(const void *context, long begin, long end, int piece) {
    const Row *p = context;
    const long first = begin * ROW_CHUNK, stop = MIN(end * ROW_CHUNK, p->O);
    if (p->b)
        copy(p->y + first, p->b + first, stop - first);
    else
        clear(p->y + first, stop - first);
    long k = 0;
    for (; k + ROW_STEP <= p->K; k += ROW_STEP) add_rows(p, p->x + k, p->w + k * p->O, ROW_STEP, first, stop);
    for (; k < p->K; k++) add_rows(p, p->x + k, p->w + k * p->O, 1, first, stop);
    if (p->relu)
        EACH for (long o = first; o < stop; o++) p->y[o] = relu_of(p->y[o]);
}

// y = x w + b
static int run_row(Row p) {
    parallel(row_part, &p, (p.O + ROW_CHUNK - 1) / ROW_CHUNK, .4 * ROW_CHUNK * p.K);
    return 1;
}

#if WIDTH == 16
#define LOW 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define HIGH 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#elif WIDTH == 8
#define LOW 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH 2, 10, 3, 11, 6, 14, 7, 15
#else
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#endif

// Four columns of every fourth of WIDTH rows, side by side
INLINE vec fourths(const float *w, long step) {
#if WIDTH == 4
    return LOAD(w);
#else
    const v8 low = __builtin_shufflevector(*(v4 *)w, *(v4 *)(w + 4 * step), 0, 1, 2, 3, 4, 5, 6, 7);
#if WIDTH == 8
    return low;
#else
    const v8 high = __builtin_shufflevector(*(v4 *)(w + 8 * step), *(v4 *)(w + 12 * step), 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
#endif
}

// The sum of x w, of four columns of WIDTH rows: they are turned in registers, 4 x 4 numbers in each part of a vector
INLINE vec add_turned(vec sums, const float *x, const float *w, long step) {
    const vec a = fourths(w, step), b = fourths(w + step, step), c = fourths(w + 2 * step, step);
    const vec d = fourths(w + 3 * step, step);
    const vec p = __builtin_shufflevector(a, c, LOW), q = __builtin_shufflevector(a, c, HIGH);
    const vec r = __builtin_shufflevector(b, d, LOW), s = __builtin_shufflevector(b, d, HIGH);
    sums += x[0] * __builtin_shufflevector(p, r, LOW);
    sums += x[1] * __builtin_shufflevector(p, r, HIGH);
    sums += x[2] * __builtin_shufflevector(q, s, LOW);
    sums += x[3] * __builtin_shufflevector(q, s, HIGH);
    return sums;
}
#undef LOW
#undef HIGH

// y = x w^T, w (O, K): sums of some rows of w run side by side, each in one lane. While they do, the rows after them
// come into the cache: they follow in memory, but are not read in that order
static void row_turned_part(const void *context, long begin, long end, int piece) {
    const Row *p = context;
    const long K = p->K, stop = MIN(end * ROW_LANES, p->O);
    for (long o = begin * ROW_LANES; o < stop; o += ROW_LANES) {
        const float *w = p->w + o * K;
        const long rows = MIN(ROW_LANES, stop - o), fours = rows == ROW_LANES ? K / 4 * 4 : 0;
        const long ahead = o + 2 * ROW_LANES <= p->O ? ROW_LANES * K : 0;
        vec sums[ROW_LANES / WIDTH] = {};
        for (long k = 0; k < fours; k += 4) {
            if (k % 16 == 0)
                UNROLL for (int r = 0; r < ROW_LANES; r++) __builtin_prefetch(w + r * K + k + ahead);
            UNROLL for (int i = 0; i < ROW_LANES / WIDTH; i++)
                sums[i] = add_turned(sums[i], p->x + k, w + i * WIDTH * K + k, K);
        }
        float column[ROW_LANES] = {0};
        for (long k = fours; k < K; k++) { // what is no four
            for (long r = 0; r < rows; r++) column[r] = w[r * K + k];
            UNROLL for (int i = 0; i < ROW_LANES / WIDTH; i++) sums[i] += p->x[k] * LOAD(column + i * WIDTH);
        }
        copy(p->y + o, (const float *)sums, rows);
    }
}

static int run_row_turned(Row p) {
    parallel(row_turned_part, &p, (p.O + ROW_LANES - 1) / ROW_LANES, .4 * ROW_LANES * p.K);
    return 1;
}

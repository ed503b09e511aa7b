// A linear map of one row, as a model that writes a text computes for each token. Bound by memory: the weights are read
// once, in runs as long as they go. Each sum has the order, and so the bits, of the product of many rows (linear.c).

#define ROW_CHUNK 64 // outputs of a unit of work
#define ROW_STEP 8   // rows of w that are read side by side
#define ROW_LANES 16 // rows of w whose sums with one row run side by side
#define ROW_BLOCK 64 // columns of these at a time

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

// y = x w^T, w (O, K): some rows of w are turned at a time, so that each sum stays in one lane
static void row_turned_part(const void *context, long begin, long end, int piece) {
    const Row *p = context;
    for (long o = begin * ROW_LANES; o < MIN(end * ROW_LANES, p->O); o += ROW_LANES) {
        const long rows = MIN(ROW_LANES, p->O - o), ahead = o + 2 * ROW_LANES <= p->O ? ROW_LANES * p->K : 0;
        float turned[ROW_BLOCK * ROW_LANES] = {0};
        vec sums[ROW_LANES / WIDTH] = {};
        for (long k = 0; k < p->K; k += ROW_BLOCK) {
            const long count = MIN(ROW_BLOCK, p->K - k);
            const float *w = p->w + o * p->K + k;
            for (long r = 0; r < rows; r++)
                for (long j = 0; j < count; j += 16) __builtin_prefetch(w + r * p->K + j + ahead);
            transpose_some(w, p->K, rows, count, turned, ROW_LANES);
            for (long j = 0; j < count; j++)
                UNROLL for (int i = 0; i < ROW_LANES / WIDTH; i++)
                    sums[i] += p->x[k + j] * LOAD(turned + j * ROW_LANES + i * WIDTH);
        }
        copy(p->y + o, (const float *)sums, rows);
    }
}

static int run_row_turned(Row p) {
    parallel(row_turned_part, &p, (p.O + ROW_LANES - 1) / ROW_LANES, .4 * ROW_LANES * p.K);
    return 1;
}

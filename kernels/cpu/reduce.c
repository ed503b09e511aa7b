// Reductions: the sum of each column (the gradient of a bias), the sum of squares, and the sum of all threads' results.
// Memory-bound. Oracle: ops/reduce.py.

#define CHUNK 512 // elements: alternating reads and writes in short runs keeps all streams of memory going

typedef struct {
    const float *parts[64];
    float *to;
    int count, add;
} Sums;

static void add_up_part(const void *context, long begin, long end, int thread) {
    const Sums *s = context;
    for (int k = 0; k < s->count; k++) {
        const float *part = s->parts[k];
        float *to = s->to;
        if (k || s->add)
            EACH for (long i = begin; i < end; i++) to[i] += part[i];
        else if (part != to)
            memcpy(to + begin, part + begin, 4 * (end - begin));
    }
}

// Write (or add) to ``to`` the sum of all threads' scratch memory, in the order of the threads
static void add_up(int threads, int slot, float *to, long size, int add) {
    Sums s = {.to = to, .count = threads, .add = add};
    for (int t = 0; t < threads; t++) s.parts[t] = scratch(t, slot, 0);
    parallel(add_up_part, &s, size, 0.3 * threads);
}

typedef struct {
    const float *dy;
    long N, O;
} ColumnSum;

// The sums of V vectors of columns over rows begin to end; the last vector may be a part of one
INLINE void sum_columns(const int V, const float *dy, long O, long begin, long end, float *sums, long width) {
    vec total[4] = {};
    for (long r = begin; r < end; r += 64) { // short sums first: rounding errors grow with the length of a sum
        vec part[4] = {};
        for (long i = r; i < MIN(end, r + 64); i++)
            UNROLL for (int v = 0; v < V; v++) part[v] += load_some(dy + i * O + v * WIDTH, width - v * WIDTH);
        UNROLL for (int v = 0; v < V; v++) total[v] += part[v];
    }
    UNROLL for (int v = 0; v < V; v++) store_some(sums + v * WIDTH, total[v], width - v * WIDTH);
}

static void column_sum_part(const void *context, long begin, long end, int thread) {
    const ColumnSum *s = context;
    float *sums = scratch(thread, 1, 4 * s->O);
    long o = 0;
    for (; o + 4 * WIDTH <= s->O; o += 4 * WIDTH) sum_columns(4, s->dy + o, s->O, begin, end, sums + o, 4 * WIDTH);
    for (; o < s->O; o += WIDTH) sum_columns(1, s->dy + o, s->O, begin, end, sums + o, MIN(WIDTH, s->O - o));
}

KERNEL(column_sum) { // dy (N, O), db (O,), accumulate
    COVER(a[0].ndim == 2 && a[0].dim[1] == a[1].size);
    const ColumnSum s = {a[0].f, a[0].dim[0], a[1].size};
    const int threads = MIN(num_threads(), MAX(1, s.N));
    for (int t = 0; t < threads; t++) {
        COVER(scratch(t, 1, 4 * s.O));
        memset(scratch(t, 1, 4 * s.O), 0, 4 * s.O);
    }
    parallel(column_sum_part, &s, s.N, .1 * s.O);
    add_up(threads, 1, a[1].f, s.O, a[2].i);
    return 1;
}

static double squares_of(const float *g, long n) {
    vec lanes[4] = {};
    long i = 0;
    for (; i + 4 * WIDTH <= n; i += 4 * WIDTH) {
        UNROLL for (int k = 0; k < 4; k++) lanes[k] += LOAD(g + i + k * WIDTH) * LOAD(g + i + k * WIDTH);
    }
    float total = sum(lanes[0] + lanes[1]) + sum(lanes[2] + lanes[3]);
    for (; i < n; i++) total += g[i] * g[i];
    return total;
}

static void squares_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    for (long at = begin; at < end; at += CHUNK) a[1].d[thread] += squares_of(a[0].f + at, MIN(CHUNK, end - at));
}

// squares (one place for each thread) grow by |flat|^2
KERNEL(sum_of_squares) { // flat, squares
    COVER(a[1].size >= num_threads());
    parallel(squares_part, a, a[0].size, 0.1);
    return 1;
}

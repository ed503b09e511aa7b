// Products too large for the caches, c = first + a b in blocks (Goto and van de Geijn 2008, "Anatomy of high-performance
// matrix multiplication"): a block of b and blocks of a are copied to the second cache, where tiles find them in order.
// Sums run in the order of k, as without blocks: c holds them from one block to the next, with the same bits.

#define LARGE 160000 // numbers of b from which on it leaves the second cache
#define DEPTH 384    // rows of a block of b, columns of one of a
#define WIDE 384     // columns of a block of b
#define HEIGHT 264   // rows of a block of a

typedef struct {
    Tile q;       // of the whole product
    const float *b;
    long rows, cols, K;
    int walk, transposed; // b is (cols, K) in memory
} Large;

// Pack rows k.. and columns o.. of b
static void pack_b(const Large *p, long k, long deep, long o, long wide, float *panels) {
    if (p->transposed)
        pack_turned(p->b + o * p->K + k, wide, deep, p->K, panels);
    else
        pack_panels(p->b + k * p->cols + o, deep, wide, p->cols, panels);
}

// Copy rows r.. and columns k.. of a, ``depth`` apart
static void pack_a(const Large *p, long r, long height, long k, long depth, float *rows) {
    if (p->walk)
        for (long i = 0; i < height; i++) memcpy(rows + i * depth, p->q.a + (r + i) * p->q.at + k, 4 * depth);
    else
        transpose_some(p->q.a + k * p->q.ak + r, p->q.ak, depth, height, rows, depth);
}

// Length of nearly equal parts of n, at most ``most`` and a multiple of ``unit``
static long equal_parts(long n, long most, long unit) {
    const long parts = (n + most - 1) / most;
    return ((n + parts - 1) / parts + unit - 1) / unit * unit;
}

static void large_part(const void *context, long begin, long end, int piece) {
    const Large *p = context;
    const long top = begin * 12, bottom = MIN(end * 12, p->rows);
    const long step = equal_parts(p->K, DEPTH, 1), tall = equal_parts(bottom - top, HEIGHT, 12);
    float *rows = scratch(piece, 1, 4 * HEIGHT * DEPTH);
    float *panels = scratch(piece, 2, 4 * DEPTH * WIDE);
    for (long o = 0; o < p->cols; o += WIDE)
        for (long k = 0; k < p->K; k += step) {
            const long wide = MIN(WIDE, p->cols - o), depth = MIN(step, p->K - k);
            pack_b(p, k, depth, o, wide, panels);
            for (long r = top; r < bottom; r += tall) {
                const long height = MIN(tall, bottom - r);
                Tile q = p->q;
                pack_a(p, r, height, k, depth, rows);
                q.H = 1, q.K = depth, q.a = rows, q.at = depth, q.ak = 1;
                if (k) q.first = q.c, q.first_step = q.ct;
                if (k + depth < p->K) q.relu = 0;
                if (q.first) q.first += r * q.first_step + o;
                q.c += r * q.ct + o;
                for (long j = 0; j < wide; j += PANEL, q.c += PANEL, q.first += q.first ? PANEL : 0) {
                    q.width = MIN(PANEL, wide - j), q.bk = panel_width(wide - j), q.b = panels + depth * j;
                    run_tiles(q, height, 1);
                }
            }
        }
}

// Whether a product (rows, K) x (K, cols) is large, with rows enough to copy b; numbers of a that follow each other in
// memory only along its columns (walk = 0) are worth copying sooner
static int is_large(long rows, long K, long cols, int walk) {
    return K * cols >= (walk ? LARGE : LARGE / 4) && rows >= 48;
}

static int run_large(Large p) {
    for (int piece = 0; piece < num_threads(); piece++)
        COVER(scratch(piece, 1, 4 * HEIGHT * DEPTH) && scratch(piece, 2, 4 * DEPTH * WIDE));
    parallel(large_part, &p, (p.rows + 11) / 12, 24.0 * p.K * p.cols / 50);
    return 1;
}

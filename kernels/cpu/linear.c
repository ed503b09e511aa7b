// Linear map: y = x w + b, dx = dy w^T, dw = x^T dy, db = the sum of dy over rows.
// Shapes: x (N, I), w (I, O), y (N, O). Compute-bound. Oracle: ops/linear.py.

#define DEPTH 256        // rows of b at a time: a panel of them stays in the nearest cache
#define ROWS 48          // rows of c at a time: as many numbers of a stay in the second one for all panels
#define WORTH_COPYING 96 // rows of c, for which b is copied to panels even where it could be read in place

// A part of a product, with DEPTH terms of each sum
typedef struct {
    Tile q;          // of the whole
    long b_panel;    // floats from panel to panel of b: PANEL where b is not packed
    long rows, cols; // of c
    int walk, pack;  // pack: copy a, whose neighbors are far from the next ones
} Product;

static void product_part(const void *context, long begin, long end, int piece) {
    const Product *p = context;
    float *block = p->pack ? scratch(piece, 0, 4 * ROWS * DEPTH) : 0;
    for (long r = begin * 12; r < MIN(end * 12, p->rows); r += ROWS) {
        const long rows = MIN(ROWS, MIN(end * 12, p->rows) - r);
        const float *a = p->q.a + r * (p->walk ? p->q.at : 1);
        if (block)
            for (long k = 0; k < p->q.K; k++) copy(block + k * ROWS, a + k * p->q.ak, rows);
        for (long o = 0; o < p->cols; o += PANEL) {
            Tile q = p->q;
            q.a = block ? block : a;
            if (block) q.ak = ROWS;
            q.b += o / PANEL * p->b_panel;
            q.c += r * q.ct + o;
            if (q.first) q.first += r * q.first_step + o;
            q.width = MIN(PANEL, p->cols - o);
            if (!q.bk) q.bk = panel_width(p->cols - o);
            run_tiles(q, rows, p->walk);
        }
    }
}

// Vectors that start at every panel of rows of n numbers do not reach beyond a row
static int whole_panels(long n) {
    return n % PANEL == 0 || panel_width(n % PANEL) == n % PANEL;
}

typedef struct {
    const float *b;
    float *panels;
    long K, cols;
} Packing;

static void pack_part(const void *context, long begin, long end, int piece) {
    const Packing *p = context;
    for (long i = begin; i < end; i++) {
        const long o = i * PANEL;
        pack_panels(p->b + o, p->K, MIN(PANEL, p->cols - o), p->cols, p->panels + o * p->K);
    }
}

// c = first + a b; b (K, cols) with rows cols apart is packed where its rows are not whole panels, or c has many rows
static int run_product(Product p, const float *b, long K) {
    const int packed = !whole_panels(p.cols) || p.rows >= WORTH_COPYING, relu = p.q.relu;
    float *panels = packed ? scratch(0, 2, 4 * panels_size(MIN(K, DEPTH), p.cols)) : 0;
    COVER(panels || !packed);
    p.pack = !p.walk && p.rows >= 12 && p.cols > PANEL;
    for (int t = 0; p.pack && t < num_threads(); t++) COVER(scratch(t, 0, 4 * ROWS * DEPTH));
    for (long k = 0; k < MAX(1, K); k += DEPTH) {
        p.q.H = 1, p.q.K = MIN(DEPTH, K - k), p.q.b = b + k * p.cols, p.q.bk = p.cols, p.b_panel = PANEL;
        if (packed) {
            const Packing packing = {p.q.b, panels, p.q.K, p.cols};
            parallel(pack_part, &packing, (p.cols + PANEL - 1) / PANEL, .1 * PANEL * p.q.K);
            p.q.b = panels, p.q.bk = 0, p.b_panel = p.q.K * PANEL;
        }
        p.q.relu = relu && k + DEPTH >= K;
        parallel(product_part, &p, (p.rows + 11) / 12, 24.0 * p.q.K * p.cols / 50);
        p.q.a += p.walk ? DEPTH : DEPTH * p.q.ak;
        p.q.first = p.q.c, p.q.first_step = p.q.ct;
    }
    return 1;
}

// Large products --------------------------------------------------------------------------------------------------
//
// c = first + a b in blocks (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"): a block
// of b and blocks of a are copied to the second cache, where tiles find them in order. Sums run in the order of k, as
// without blocks: c holds them from one block to the next, with the same bits.

#define LARGE 160000 // numbers of b from which on it leaves that cache
#define LARGE_DEPTH 384  // rows of a block of b, columns of one of a
#define LARGE_WIDE 384   // columns of a block of b
#define LARGE_HEIGHT 264 // rows of a block of a

typedef struct {
    Tile q;       // of the whole product
    const float *b;
    long rows, cols, K;
    int walk, transposed; // b is (cols, K) in memory
} Large;

// Pack rows k.. and columns o.. of b
static void pack_b(const Large *p, long k, long deep, long o, long wide, float *panels) {
    if (!p->transposed) {
        pack_panels(p->b + k * p->cols + o, deep, wide, p->cols, panels);
        return;
    }
    for (long j = 0; j < wide; j += PANEL) {
        const long n = MIN(PANEL, wide - j), width = panel_width(wide - j);
        if (n < width) memset(panels, 0, 4 * deep * width);
        transpose_some(p->b + (o + j) * p->K + k, p->K, n, deep, panels, width);
        panels += deep * width;
    }
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
    const long step = equal_parts(p->K, LARGE_DEPTH, 1), tall = equal_parts(bottom - top, LARGE_HEIGHT, 12);
    float *rows = scratch(piece, 1, 4 * LARGE_HEIGHT * LARGE_DEPTH);
    float *panels = scratch(piece, 2, 4 * LARGE_DEPTH * LARGE_WIDE);
    for (long o = 0; o < p->cols; o += LARGE_WIDE)
        for (long k = 0; k < p->K; k += step) {
            const long wide = MIN(LARGE_WIDE, p->cols - o), depth = MIN(step, p->K - k);
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

// Whether a product (rows, K) x (K, cols) is large, with rows enough to copy b
static int is_large(long rows, long K, long cols) {
    return K * cols >= LARGE && rows >= 48;
}

static int run_large(Large p) {
    for (int piece = 0; piece < num_threads(); piece++)
        COVER(scratch(piece, 1, 4 * LARGE_HEIGHT * LARGE_DEPTH) && scratch(piece, 2, 4 * LARGE_DEPTH * LARGE_WIDE));
    parallel(large_part, &p, (p.rows + 11) / 12, 24.0 * p.K * p.cols / 50);
    return 1;
}

static int matrices_fit(const Arg *x, const Arg *w, const Arg *y) {
    return x->ndim == 2 && w->ndim == 2 && y->ndim == 2 && x->dim[0] == y->dim[0] && x->dim[1] == w->dim[0] &&
           y->dim[1] == w->dim[1];
}

KERNEL(linear) { // x, w, b, y, relu
    COVER(matrices_fit(&a[0], &a[1], &a[3]) && (!a[2].f || a[2].size == a[1].dim[1]));
    const long I = a[1].dim[0], O = a[1].dim[1];
    const Tile q = {.a = a[0].f, .at = I, .c = a[3].f, .ct = O, .first = a[2].f, .relu = a[4].i};
    if (is_large(a[0].dim[0], I, O)) return run_large((Large){q, a[1].f, a[0].dim[0], O, I, 1, 0});
    return run_product((Product){.q = q, .rows = a[0].dim[0], .cols = O, .walk = 1}, a[1].f, I);
}

KERNEL(linear_dw) { // x, dy, dw, accumulate
    COVER(matrices_fit(&a[0], &a[2], &a[1]));
    const long N = a[0].dim[0], I = a[2].dim[0], O = a[2].dim[1];
    const Tile q = {.a = a[0].f, .ak = I, .c = a[2].f, .ct = O, .first = a[3].i ? a[2].f : 0, .first_step = O};
    if (is_large(I, N, O)) return run_large((Large){q, a[1].f, I, O, N, 0, 0});
    return run_product((Product){.q = q, .rows = I, .cols = O, .walk = 0}, a[1].f, N);
}

KERNEL(linear_dx) { // dy, w, dx
    COVER(matrices_fit(&a[2], &a[1], &a[0]));
    const long N = a[0].dim[0], I = a[1].dim[0], O = a[1].dim[1];
    if (!N) return 1;
    if (is_large(N, O, I)) {
        const Tile q = {.a = a[0].f, .at = O, .c = a[2].f, .ct = I};
        return run_large((Large){q, a[1].f, N, I, O, 1, 1});
    }
    if (N >= O) {
        float *transposed = scratch(0, 3, 4 * I * O);
        COVER(transposed);
        transpose(a[1].f, I, O, transposed);
        const Tile q = {.a = a[0].f, .at = O, .c = a[2].f, .ct = I};
        return run_product((Product){.q = q, .rows = N, .cols = I, .walk = 1}, transposed, O);
    }
    // few samples: dx^T = w dy^T, so that the small factors are transposed and not the weights
    float *transposed = scratch(0, 3, 4 * (N * O + N * I)), *dx = transposed + N * O;
    COVER(transposed);
    transpose(a[0].f, N, O, transposed);
    const Tile q = {.a = a[1].f, .at = O, .c = dx, .ct = N};
    if (!run_product((Product){.q = q, .rows = I, .cols = N, .walk = 1}, transposed, O)) return 0;
    transpose(dx, I, N, a[2].f);
    return 1;
}

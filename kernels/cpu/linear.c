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

static int matrices_fit(const Arg *x, const Arg *w, const Arg *y) {
    return x->ndim == 2 && w->ndim == 2 && y->ndim == 2 && x->dim[0] == y->dim[0] && x->dim[1] == w->dim[0] &&
           y->dim[1] == w->dim[1];
}

KERNEL(linear) { // x, w, b, y, relu
    COVER(matrices_fit(&a[0], &a[1], &a[3]) && (!a[2].f || a[2].size == a[1].dim[1]));
    const long I = a[1].dim[0], O = a[1].dim[1];
    const Tile q = {.a = a[0].f, .at = I, .c = a[3].f, .ct = O, .first = a[2].f, .relu = a[4].i};
    return run_product((Product){.q = q, .rows = a[0].dim[0], .cols = O, .walk = 1}, a[1].f, I);
}

KERNEL(linear_dw) { // x, dy, dw, accumulate
    COVER(matrices_fit(&a[0], &a[2], &a[1]));
    const long N = a[0].dim[0], I = a[2].dim[0], O = a[2].dim[1];
    const Tile q = {.a = a[0].f, .ak = I, .c = a[2].f, .ct = O, .first = a[3].i ? a[2].f : 0, .first_step = O};
    return run_product((Product){.q = q, .rows = I, .cols = O, .walk = 0}, a[1].f, N);
}

KERNEL(linear_dx) { // dy, w, dx
    COVER(matrices_fit(&a[2], &a[1], &a[0]));
    const long N = a[0].dim[0], I = a[1].dim[0], O = a[1].dim[1];
    if (!N) return 1;
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

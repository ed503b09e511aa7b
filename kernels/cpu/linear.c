// Linear map: y = x w + b, dx = dy w^T, dw = x^T dy, db = the sum of dy over rows.
// Shapes: x (N, I), w (I, O), y (N, O). Compute-bound. Oracle: ops/linear.py.

typedef struct {
    Tile q;          // of the whole product
    long b_panel;    // floats from panel to panel of b: PANEL where b is not packed
    long rows, cols; // of c
    int walk;
} Product;

static void product_part(const void *context, long begin, long end, int thread) {
    const Product *p = context;
    for (long r = begin * 12; r < MIN(end * 12, p->rows); r += 48) // rows of a that the cache holds for all panels
        for (long o = 0; o < p->cols; o += PANEL) {
            Tile q = p->q;
            q.a += r * (p->walk ? q.at : 1);
            q.b += o / PANEL * p->b_panel;
            q.c += r * q.ct + o;
            if (q.first) q.first += r * q.first_step + o;
            q.width = MIN(PANEL, p->cols - o);
            if (!q.bk) q.bk = panel_width(p->cols - o);
            run_tiles(q, MIN(48, MIN(end * 12, p->rows) - r), p->walk);
        }
}

// Vectors that start at every panel of rows of n numbers do not reach beyond a row
static int whole_panels(long n) {
    return n % PANEL == 0 || panel_width(n % PANEL) == n % PANEL;
}

// c = first + a b; b (K, cols) with rows cols apart is packed where its rows are not whole panels
static int run_product(Product p, const float *b, long K) {
    p.q.H = 1, p.q.K = K, p.q.b = b, p.q.bk = p.cols, p.b_panel = PANEL;
    if (!whole_panels(p.cols)) {
        float *panels = scratch(0, 2, 4 * panels_size(K, p.cols));
        COVER(panels);
        pack_panels(b, K, p.cols, p.cols, panels);
        p.q.b = panels, p.q.bk = 0, p.b_panel = K * PANEL;
    }
    parallel(product_part, &p, (p.rows + 11) / 12, 24.0 * K * p.cols / 50);
    return 1;
}

static int matrices_fit(const Arg *x, const Arg *w, const Arg *y) {
    return x->ndim == 2 && w->ndim == 2 && y->ndim == 2 && x->dim[0] == y->dim[0] && x->dim[1] == w->dim[0] &&
           y->dim[1] == w->dim[1];
}

KERNEL(linear) { // x, w, b, y, relu
    COVER(matrices_fit(&a[0], &a[1], &a[3]) && (!a[2].f || a[2].size == a[1].dim[1]));
    const long I = a[1].dim[0], O = a[1].dim[1];
    if (a[0].dim[0] == 1) return run_row((Row){a[0].f, a[1].f, a[2].f, a[3].f, I, O, a[4].i});
    const Tile q = {.a = a[0].f, .at = I, .c = a[3].f, .ct = O, .first = a[2].f, .relu = a[4].i};
    if (is_large(a[0].dim[0], I, O, 1)) return run_large((Large){q, a[1].f, a[0].dim[0], O, I, 1, 0});
    return run_product((Product){.q = q, .rows = a[0].dim[0], .cols = O, .walk = 1}, a[1].f, I);
}

KERNEL(linear_dw) { // x, dy, dw, accumulate
    COVER(matrices_fit(&a[0], &a[2], &a[1]));
    const long N = a[0].dim[0], I = a[2].dim[0], O = a[2].dim[1];
    const Tile q = {.a = a[0].f, .ak = I, .c = a[2].f, .ct = O, .first = a[3].i ? a[2].f : 0, .first_step = O};
    if (is_large(I, N, O, 0)) return run_large((Large){q, a[1].f, I, O, N, 0, 0});
    return run_product((Product){.q = q, .rows = I, .cols = O, .walk = 0}, a[1].f, N);
}

KERNEL(linear_dx) { // dy, w, dx
    COVER(matrices_fit(&a[2], &a[1], &a[0]));
    const long N = a[0].dim[0], I = a[1].dim[0], O = a[1].dim[1];
    if (!N) return 1;
    if (N == 1) return run_row_turned((Row){.x = a[0].f, .w = a[1].f, .y = a[2].f, .K = O, .O = I});
    if (is_large(N, O, I, 1)) {
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

// The gradient of 3x3 kernels by Winograd's F(4x4, 3x3): conv2d_winograd.c backwards, in 36 products over the tiles of
// all images.
//
//     sums[q] (C, O) = inputs[q]^T (A^T dy tile A)[q]     dw = G^T sums G
//
// Where the 36 sums fit into a cache, each thread has its own and takes small blocks of tiles.

INLINE void transform_a_back(const vec y[4], vec m[6]) {
    const vec p = y[0] + y[2], q = y[1] + y[3], r = y[0] + 4 * y[2], s = 2 * y[1] + 8 * y[3];
    m[0] = y[0], m[1] = p + q, m[2] = p - q, m[3] = r + s, m[4] = r - s, m[5] = y[3];
}

INLINE void transform_g_back(const vec u[6], vec w[3]) {
    const vec p = (u[1] + u[2]) * (1 / 6.f), q = u[3] + u[4];
    w[0] = u[0] * .25f - p + q * (1 / 24.f);
    w[1] = (u[2] - u[1]) * (1 / 6.f) + (u[3] - u[4]) * (1 / 12.f);
    w[2] = q * (1 / 6.f) - p + u[5];
}

static void product_tile(const Winograd *g, long tile, float *spare, float *out) {
    const Conv *v = g->v;
    const long per_image = g->rows * g->columns, n = tile / per_image, i = tile % per_image / g->columns;
    const long j = tile % g->columns, q_step = g->products_step;
    const float *image = g->dy + n * v->OH * v->OW * v->O;
    fetch_lines(image + ((4 * i + 4) * v->OW + 4 * j) * v->O, v->OW * v->O, 4 * v->O, 0);
    long line, step;
    const float *dy = open_tile(image, v->OH, v->OW, v->O, 4 * i, 4 * j, 4, spare + 6 * g->at, &line, &step);
    for (long o = 0; o < v->O; o += WIDTH) {
        vec half[6][4], d[4], t[6];
        UNROLL for (int b = 0; b < 4; b++) {
            UNROLL for (int a = 0; a < 4; a++) d[a] = LOAD(dy + a * line + b * step + o);
            transform_a_back(d, t);
            UNROLL for (int a = 0; a < 6; a++) half[a][b] = t[a];
        }
        UNROLL for (int a = 0; a < 6; a++) {
            transform_a_back(half[a], t);
            UNROLL for (int b = 0; b < 6; b++) STORE(out + (a * 6 + b) * q_step + o, t[b]);
        }
    }
}

static float *dw_sums(const Winograd *g, int thread) {
    return scratch(thread, 1, 4 * (36 * g->sums_step + PANEL));
}

// sums[q] = (or, with ``add``, +=) inputs[q]^T products[q] over ``count`` tiles
static void dw_products(const Winograd *g, long q, const float *inputs, const float *products, long count, int add,
                        float *sums) {
    const long C = g->v->C, O = g->v->O;
    for (long o = 0; o < O; o += PANEL) {
        const long width = MIN(PANEL, O - o);
        float *c = sums + q * g->sums_step + o * C; // one panel of columns after another: rows of a tile are neighbors
        const Tile p = {
            .a = inputs + q * g->inputs_step, .ak = g->at, .H = 1, .K = count,
            .b = products + q * g->products_step + o, .bk = g->mt, .width = width,
            .c = c, .ct = width, .first = add ? c : 0, .first_step = width,
        };
        run_tiles(p, C, 0);
    }
}

static void winograd_dw_part(const void *context, long begin, long end, int thread) {
    const Winograd *g = context;
    float *spare = spare_memory(g, thread, g->inputs_step + g->products_step), *sums = dw_sums(g, thread);
    float *inputs = spare + spare_size(g), *products = inputs + 36 * g->inputs_step;
    for (long tile = begin; tile < end; tile += g->block) {
        const long count = MIN(g->block, end - tile);
        for (long t = 0; t < count; t++) input_tile(g, tile + t, spare, inputs + t * g->at);
        for (long t = 0; t < count; t++) product_tile(g, tile + t, spare, products + t * g->mt);
        for (int q = 0; q < 36; q++) dw_products(g, q, inputs, products, count, tile > begin, sums);
    }
}

// Where the 36 sums are more than a cache holds, few blocks should pass over them: a block is then large, and threads
// share first its tiles and then the 36 products.
static void dw_tiles_part(const void *context, long begin, long end, int thread) {
    const Winograd *g = context;
    float *spare = spare_memory(g, thread, 0);
    for (long t = begin; t < end; t++) {
        input_tile(g, g->first + t, spare, g->inputs + t * g->at);
        product_tile(g, g->first + t, spare, g->products + t * g->mt);
    }
}

static void dw_products_part(const void *context, long begin, long end, int thread) {
    const Winograd *g = context;
    for (long q = begin; q < end; q++) dw_products(g, q, g->inputs, g->products, g->count, g->first > 0, g->sums);
}

static int winograd_dw_large(Winograd g, long tiles) {
    const Conv *v = g.v;
    const long passes = (tiles + MANY_TILES - 1) / MANY_TILES;
    g.block = passes ? (tiles + passes - 1) / passes : 0; // equal blocks: a short last one would cost a whole pass over the sums
    set_steps(&g);
    g.inputs = scratch(0, 2, 4 * 36 * g.inputs_step), g.products = scratch(0, 3, 4 * (36 * g.products_step + PANEL));
    g.sums = dw_sums(&g, 0);
    COVER(g.inputs && g.products && g.sums);
    if (!tiles) memset(g.sums, 0, 4 * 36 * g.sums_step);
    for (g.first = 0; g.first < tiles; g.first += g.block) {
        g.count = MIN(g.block, tiles - g.first);
        parallel(dw_tiles_part, &g, g.count, 400.0 * (v->C + v->O) / 50);
        parallel(dw_products_part, &g, 36, 2.0 * g.count * v->C * v->O / 50);
    }
    return 1;
}

static int winograd_dw_small(const Winograd *g, long tiles) {
    const long size = 36 * g->sums_step;
    const int threads = MIN(num_threads(), MAX(1, tiles));
    for (int t = 0; t < threads; t++) {
        COVER(dw_sums(g, t));
        memset(dw_sums(g, t), 0, 4 * size);
    }
    parallel(winograd_dw_part, g, tiles, tile_cost(g->v));
    add_up(threads, 1, dw_sums(g, 0), size, 0);
    return 1;
}

typedef struct {
    const float *sums;
    float *dw;
    long C, O, sums_step; // floats from one of the 36 to the next
    int add;
} KernelsBack;

// Item i is row i % C of panel i / C, as in kernels_part
static void kernels_back_part(const void *context, long begin, long end, int thread) {
    const KernelsBack *k = context;
    for (long i = begin; i < end; i++) {
        const long c = i % k->C, panel = i / k->C * PANEL, width = MIN(PANEL, k->O - panel);
        for (long o = panel; o < panel + width; o += WIDTH) {
            const float *sums = k->sums + panel * k->C + c * width + o - panel;
            const long n = panel + width - o;
            vec half[3][6], u[6], t[3];
            UNROLL for (int b = 0; b < 6; b++) {
                UNROLL for (int a = 0; a < 6; a++) u[a] = load_some(sums + (a * 6 + b) * k->sums_step, n);
                transform_g_back(u, t);
                UNROLL for (int a = 0; a < 3; a++) half[a][b] = t[a];
            }
            UNROLL for (int a = 0; a < 3; a++) {
                transform_g_back(half[a], t);
                UNROLL for (int b = 0; b < 3; b++) {
                    float *out = k->dw + ((a * 3 + b) * k->C + c) * k->O + o;
                    const vec old = k->add ? load_some(out, n) : (vec){};
                    store_some(out, t[b] + old, n);
                }
            }
        }
    }
}

static int winograd_dw(const Conv *v, const float *dy, float *dw, int add) {
    Winograd g = plan(v);
    g.dy = dy, g.sums_step = spread(v->C * v->O);
    const long tiles = v->N * g.rows * g.columns, size = v->C * v->O;
    COVER(4 * 36 * size > MANY_SUMS ? winograd_dw_large(g, tiles) : winograd_dw_small(&g, tiles));
    const KernelsBack k = {dw_sums(&g, 0), dw, v->C, v->O, g.sums_step, add};
    parallel(kernels_back_part, &k, v->C * ((v->O + PANEL - 1) / PANEL), 80);
    return 1;
}

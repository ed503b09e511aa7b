// Convolution with 3x3 kernels, stride 1, by Winograd's F(4x4, 3x3): a quarter of the multiplications.
//
// Each 4x4 tile of y needs a 6x6 tile of x. Tiles, weights and results are transformed to 36 numbers, between which the
// convolution is 36 products over channels (formulas and sources: ops/conv2d_winograd.py, the oracle):
//
//     inputs[q] (T, C) = B tile B^T     kernels[q] (C, O) = G w G^T     y tile = A (inputs[q] kernels[q]) A^T
//
// Tiles go in blocks that stay in the cache; kernels, packed into panels once per call, stream through for each block.
// Legend: T tiles of all images in one row; C and O as they stand in memory, Cp and Op rounded up to whole vectors.

#define MANY_SUMS (1L << 19) // bytes of dw's sums: half of a second-level cache
#define MANY_TILES 128       // in a block that all threads share

typedef struct {
    const Conv *v;
    const float *kernels, *dy;
    long rows, columns; // tiles of one image
    long block;         // tiles in a block
    long at, mt;        // floats from tile to tile of inputs, and of products
    long inputs_step, products_step; // floats from one of the 36 to the next
    long kernel_size;   // floats of one of the 36 packed kernels
    float *inputs, *products, *sums; // dw: of the block from tile ``first`` on, which all threads share
    long first, count, sums_step;
} Winograd;

INLINE void transform_b(const vec d[6], vec t[6]) {
    const vec p = d[4] - 4 * d[2], q = d[3] - 4 * d[1], r = d[4] - d[2], s = 2 * (d[3] - d[1]);
    t[0] = 4 * d[0] - 5 * d[2] + d[4];
    t[1] = p + q, t[2] = p - q, t[3] = r + s, t[4] = r - s;
    t[5] = 4 * d[1] - 5 * d[3] + d[5];
}

INLINE void transform_a(const vec m[6], vec y[4]) {
    const vec p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
    y[0] = m[0] + p + r, y[1] = q + 2 * s, y[2] = p + 4 * r, y[3] = q + 8 * s + m[5];
}

INLINE void transform_g(const vec w[3], vec u[6]) {
    const vec p = (w[0] + w[2]) * (-1 / 6.f), q = w[1] * (1 / 6.f);
    const vec r = w[0] * (1 / 24.f) + w[2] * (1 / 6.f), s = w[1] * (1 / 12.f);
    u[0] = w[0] * .25f, u[1] = p - q, u[2] = p + q, u[3] = r + s, u[4] = r - s, u[5] = w[2];
}

// A tile of ``side`` x ``side`` pixels at (i, j) of an image (H, W, C): in place where it is inside and channels are
// whole vectors, else copied to ``patch`` with zeros around; *line floats from line to line, *step from pixel to pixel
static const float *open_tile(const float *image, long H, long W, long C, long i, long j, int side, float *patch,
                              long *line, long *step) {
    const long Cp = (C + WIDTH - 1) / WIDTH * WIDTH;
    if (Cp == C && i >= 0 && j >= 0 && i + side <= H && j + side <= W) {
        *line = W * C, *step = C;
        return image + (i * W + j) * C;
    }
    *line = side * Cp, *step = Cp;
    const long begin = MIN(side, MAX(0, -j)), end = MAX(begin, MIN(side, W - j)); // columns inside the image
    float *to = patch;
    for (long a = 0; a < side; a++, to += side * Cp) {
        if (i + a < 0 || i + a >= H) {
            clear(to, side * Cp);
            continue;
        }
        const float *from = image + ((i + a) * W + j) * C;
        clear(to, begin * Cp);
        if (Cp == C)
            copy(to + begin * C, from + begin * C, (end - begin) * C);
        else
            for (long b = begin; b < end; b++) {
                copy(to + b * Cp, from + b * C, C);
                clear(to + b * Cp + C, Cp - C);
            }
        clear(to + end * Cp, (side - end) * Cp);
    }
    return patch;
}

// The contribution of a tile, or to a tile, of 4 lines
INLINE void fetch_lines(const float *p, long line, long n, const int write) {
    for (int a = 0; a < 4; a++) fetch(p + a * line, n, write);
}

// ``spare``: a line of 6 pixels of zeros, then room for a patch
static void input_tile(const Winograd *g, long tile, float *spare, float *out) {
    const Conv *v = g->v;
    const long per_image = g->rows * g->columns, n = tile / per_image, i = 4 * (tile % per_image / g->columns);
    const long j = tile % g->columns * 4, q_step = g->inputs_step, top = i - v->top, left = j - v->left;
    const float *image = v->x + n * v->H * v->W * v->C, *rows[6];
    fetch_lines(image + ((top + 6) * v->W + j) * v->C, v->W * v->C, 4 * v->C, 0); // of the tile below
    if (v->y) fetch_lines(v->y + n * v->y_image + i * v->y_line + j * v->y_step, v->y_line, 4 * v->O, 1);
    long line, step = v->C;
    int inside[6];
    if (v->C % WIDTH) {
        const float *x = open_tile(image, v->H, v->W, v->C, top, left, 6, spare + 6 * g->at, &line, &step);
        for (int a = 0; a < 6; a++) rows[a] = x + a * line, inside[a] = 1;
    } else
        for (int a = 0; a < 6; a++) {
            rows[a] = top + a >= 0 && top + a < v->H ? image + ((top + a) * v->W + left) * v->C : spare;
            inside[a] = left + a >= 0 && left + a < v->W;
        }
    for (long c = 0; c < v->C; c += WIDTH) {
        vec half[6][6], d[6], t[6] = {};
        UNROLL for (int b = 0; b < 6; b++) {
            UNROLL for (int a = 0; a < 6; a++) d[a] = inside[b] ? LOAD(rows[a] + b * step + c) : (vec){};
            transform_b(d, t);
            UNROLL for (int a = 0; a < 6; a++) half[a][b] = t[a];
        }
        UNROLL for (int a = 0; a < 6; a++) {
            transform_b(half[a], t);
            UNROLL for (int b = 0; b < 6; b++) STORE(out + (a * 6 + b) * q_step + c, t[b]);
        }
    }
}

static void output_tile(const Winograd *g, long tile, const float *products) {
    const Conv *v = g->v;
    const long per_image = g->rows * g->columns, n = tile / per_image, i = tile % per_image / g->columns * 4;
    const long j = tile % g->columns * 4, q_step = g->products_step;
    const long height = MIN(4, v->OH - i), width = MIN(4, v->OW - j);
    float *y = v->y + n * v->y_image + i * v->y_line + j * v->y_step;
    for (long o = 0; o < v->O; o += WIDTH) {
        const vec bias = v->bias ? load_some(v->bias + o, v->O - o) : (vec){};
        vec half[4][6], m[6], t[4];
        UNROLL for (int b = 0; b < 6; b++) {
            UNROLL for (int a = 0; a < 6; a++) m[a] = LOAD(products + (a * 6 + b) * q_step + o);
            transform_a(m, t);
            UNROLL for (int a = 0; a < 4; a++) half[a][b] = t[a];
        }
        const int whole = height == 4 && width == 4 && o + WIDTH <= v->O;
        UNROLL for (int a = 0; a < 4; a++) {
            float *line = y + a * v->y_line + o;
            transform_a(half[a], t);
            if (whole)
                UNROLL for (int b = 0; b < 4; b++) STORE(line + b * v->y_step, t[b] + bias);
            else
                UNROLL for (int b = 0; b < 4; b++)
                    if (a < height && b < width) store_some(line + b * v->y_step, t[b] + bias, v->O - o);
        }
    }
}

typedef struct {
    const float *w;
    float *out;
    long C, O, kernel_size;
} Kernels;

// Transform rows of w (3, 3, C, O) and put them into panels, one panel after another: item i is row i % C of panel i / C
static void kernels_part(const void *context, long begin, long end, int thread) {
    const Kernels *k = context;
    for (long i = begin; i < end; i++) {
        const long c = i % k->C, panel = i / k->C * PANEL, width = panel_width(k->O - panel);
        for (long o = panel; o < MIN(panel + PANEL, k->O); o += WIDTH) {
            const long n = MIN(WIDTH, width - (o - panel));
            vec half[6][3], w[3], t[6];
            UNROLL for (int b = 0; b < 3; b++) {
                UNROLL for (int a = 0; a < 3; a++)
                    w[a] = load_some(k->w + ((a * 3 + b) * k->C + c) * k->O + o, k->O - o);
                transform_g(w, t);
                UNROLL for (int a = 0; a < 6; a++) half[a][b] = t[a];
            }
            float *out = k->out + panel * k->C + c * width + o - panel;
            UNROLL for (int a = 0; a < 6; a++) {
                transform_g(half[a], t);
                UNROLL for (int b = 0; b < 6; b++) store_some(out + (a * 6 + b) * k->kernel_size, t[b], n);
            }
        }
    }
}

static long spare_size(const Winograd *g) {
    return 6 * g->at + 36 * MAX(g->at, g->mt);
}

// Memory of a thread to open tiles, and then ``more`` floats for each of the 36
static float *spare_memory(const Winograd *g, int thread, long more) {
    float *spare = scratch(thread, 0, 4 * (spare_size(g) + 36 * more));
    clear(spare, 6 * g->at);
    return spare;
}

static void winograd_part(const void *context, long begin, long end, int thread) {
    const Winograd *g = context;
    const Conv *v = g->v;
    float *spare = spare_memory(g, thread, g->inputs_step + g->products_step);
    float *inputs = spare + spare_size(g), *products = inputs + 36 * g->inputs_step;
    for (long tile = begin; tile < end; tile += g->block) {
        const long count = MIN(g->block, end - tile);
        for (long t = 0; t < count; t++) input_tile(g, tile + t, spare, inputs + t * g->at);
        for (int q = 0; q < 36; q++)
            for (long o = 0; o < v->O; o += PANEL) {
                Tile p = {
                    .a = inputs + q * g->inputs_step, .at = g->at, .H = 1, .K = v->C,
                    .b = g->kernels + q * g->kernel_size + o * v->C, .bk = panel_width(v->O - o),
                    .c = products + q * g->products_step + o, .ct = g->mt, .width = MIN(PANEL, v->O - o),
                };
                run_tiles(p, count, 1);
            }
        for (long t = 0; t < count; t++) output_tile(g, tile + t, products + t * g->mt);
    }
}

// Steps from tile to tile of vectors of n channels; not a multiple of 1 KB, which would fall on few sets of the cache
static long spread(long n) {
    const long whole = (n + WIDTH - 1) / WIDTH * WIDTH;
    return whole % 256 ? whole : whole + 16;
}

static void set_steps(Winograd *g) {
    g->inputs_step = spread(g->block * g->at) + 16, g->products_step = spread(g->block * g->mt) + 16;
}

static Winograd plan(const Conv *v) {
    Winograd g = {.v = v, .rows = (v->OH + 3) / 4, .columns = (v->OW + 3) / 4, .at = spread(v->C), .mt = spread(v->O)};
    g.block = MAX(24, MIN(192, 3600 / (v->C + v->O) / 12 * 12));
    set_steps(&g);
    g.kernel_size = panels_size(v->C, v->O);
    return g;
}

static double tile_cost(const Conv *v) {
    return (72.0 * v->C * v->O + 400.0 * (v->C + v->O)) / 50;
}

static int winograd(const Conv *v, const float *w) {
    Winograd g = plan(v);
    float *kernels = scratch(0, 2, 4 * 36 * g.kernel_size);
    COVER(kernels);
    const Kernels k = {w, kernels, v->C, v->O, g.kernel_size};
    parallel(kernels_part, &k, v->C * ((v->O + PANEL - 1) / PANEL), 4.0 * PANEL);
    g.kernels = kernels;
    parallel(winograd_part, &g, v->N * g.rows * g.columns, tile_cost(v));
    return 1;
}

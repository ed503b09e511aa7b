// Groups with few outputs: a vector holds the outputs of several groups.
//
// Each channel of x is spread over the lanes of the outputs that see it; then there is a depthwise convolution left,
// with Cg channels for each output. Lines are spread once and kept in a ring, as many as the kernel reaches over.
//
// Legend, in addition to that of conv2d_grouped.c: a block is WIDTH outputs; lines of the ring (pixels, Cg, WIDTH),
// with room for a vector behind each; packed weights and sums of dw (blocks, KH, KW, Cg, WIDTH).

#define MOST_NARROW 12 // outputs, or taps and channels of dw, that are summed at once

static int is_narrow(const Grouped *g) {
    return g->G > 1 && 2 * g->Og <= WIDTH;
}

static void plan_narrow(Grouped *g) {
    g->blocks = (g->v.O + WIDTH - 1) / WIDTH;
    g->slot = ((g->v.OW - 1) * g->v.sw + g->v.KW) * g->Cg * WIDTH + WIDTH;
    g->ring = (g->KH - 1) * g->dh + 1;
}

static long lanes_size(const Grouped *g) {
    return g->blocks * g->KH * g->KW * g->Cg * WIDTH;
}

// Spread one pixel: lane l of vector c is the c-th channel that output block WIDTH + l sees. ``outputs`` of a group is
// a constant where it divides a vector, and 0 else: then lanes are written four at a time, and the next group writes
// over the excess.
INLINE void spread_pixel(const Grouped *g, const int outputs, const float *x, long first, float *to) {
    const long Cg = g->Cg, stop = MIN(first + WIDTH, g->v.O);
    x += first / g->Og * Cg;
    for (long c = 0; c < Cg; c++, x++, to += WIDTH)
        if (outputs) {
            UNROLL for (int l = 0; l < WIDTH; l += outputs) {
                const v8 value = x[l / outputs * Cg] - (v8){};
                memcpy(to + l, &value, 4 * outputs);
            }
        } else {
            const float *seen = x;
            for (long o = first / g->Og * g->Og; o < stop; o += g->Og, seen += Cg)
                for (long l = MAX(o, first); l < MIN(o + g->Og, stop); l += 4) *(v4 *)(to + l - first) = *seen - (v4){};
        }
}

INLINE void spread_pixels(const Grouped *g, const int outputs, const float *line, long block, float *to) {
    const long left = g->v.left, W = g->v.W, C = g->v.C, pixels = (g->v.OW - 1) * g->v.sw + g->v.KW;
    for (long w = -left; w < pixels - left; w++, to += g->Cg * WIDTH)
        if (w < 0 || w >= W)
            clear(to, g->Cg * WIDTH);
        else
            spread_pixel(g, outputs, line + w * C, block * WIDTH, to);
}

static void spread_line(const Grouped *g, const float *line, long block, float *to) {
    switch ((block + 1) * WIDTH <= g->v.O ? g->Og : 0) {
    case 1: spread_pixels(g, 1, line, block, to); break;
    case 2: spread_pixels(g, 2, line, block, to); break;
#if WIDTH > 4
    case 4: spread_pixels(g, 4, line, block, to); break;
#endif
#if WIDTH > 8
    case 8: spread_pixels(g, 8, line, block, to); break;
#endif
    default: spread_pixels(g, 0, line, block, to);
    }
}

// Spread the lines up to those that output line i sees, from ``next`` on; return the first that is not spread yet
static long spread_lines(const Grouped *g, const float *image, long block, long i, long next, float *ring) {
    const Conv *v = &g->v;
    const long first = i * v->sh - v->top;
    for (next = MAX(next, first); next < MIN(v->H, first + g->ring); next++)
        spread_line(g, image + next * v->W * v->C, block, ring + next % g->ring * g->slot);
    return next;
}

static float *slot_of(const Grouped *g, float *ring, long line) {
    return ring + line % g->ring * g->slot;
}

// T outputs of a line, ``step`` floats apart in the ring: those from ``x`` on, for the taps of ``rows``
INLINE void narrow_outputs(const int T, const Grouped *g, float *ring, long first, Taps rows, long j, const float *w, vec *sums) {
    const long pixel = g->Cg * WIDTH, step = g->v.sw * pixel, run = (g->dw == 1 ? g->KW : 1) * g->Cg;
    vec acc[MOST_NARROW];
    UNROLL for (int t = 0; t < T; t++) acc[t] = sums[t];
    for (long h = rows.first; h < rows.last; h++) {
        const float *line = slot_of(g, ring, first + h * g->dh) + j * step, *tap = w + h * g->KW * pixel;
        for (long k = 0; k < g->KW * g->Cg; k += run) {
            const float *p[4] = {line, line + 3 * step, line + 6 * step, line + 9 * step}; // by threes: fewer registers
            for (long c = 0; c < run * WIDTH; c += WIDTH, tap += WIDTH) {
                const vec weight = LOAD(tap);
                UNROLL for (int t = 0; t < T; t++) acc[t] += weight * LOAD(p[t / 3] + t % 3 * step + c);
            }
            line += g->dw * pixel;
        }
    }
    UNROLL for (int t = 0; t < T; t++) sums[t] = acc[t];
}

// Add the contribution of a line of outputs to T neighboring sums of dw; x and dy step from output to output
INLINE void narrow_taps(const int T, const float *x, long x_step, const float *dy, long dy_step, long count, float *sums) {
    vec acc[MOST_NARROW];
    UNROLL for (int t = 0; t < T; t++) acc[t] = LOAD(sums + t * WIDTH);
    for (long j = 0; j < count; j++, x += x_step, dy += dy_step) {
        const vec slope = LOAD(dy);
        UNROLL for (int t = 0; t < T; t++) acc[t] += slope * LOAD(x + t * WIDTH);
    }
    UNROLL for (int t = 0; t < T; t++) STORE(sums + t * WIDTH, acc[t]);
}

#define EACH_COUNT(CASE) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)

static void some_outputs(long count, const Grouped *g, float *ring, long first, Taps rows, long j, const float *w, vec *sums) {
    switch (count) {
#define CASE(T) case T: narrow_outputs(T, g, ring, first, rows, j, w, sums); break;
        EACH_COUNT(CASE)
#undef CASE
    }
}

static void some_taps(long count, const float *x, long x_step, const float *dy, long dy_step, long outputs, float *sums) {
    switch (count) {
#define CASE(T) case T: narrow_taps(T, x, x_step, dy, dy_step, outputs, sums); break;
        EACH_COUNT(CASE)
#undef CASE
    }
}

static void narrow_line(const Grouped *g, float *ring, long i, long block, float *y) {
    const Conv *v = &g->v;
    const long first = i * v->sh - v->top, n = v->O - block * WIDTH, tiles = (v->OW + MOST_NARROW - 1) / MOST_NARROW;
    const Taps rows = taps_inside(first, g->KH, g->dh, v->H);
    const float *w = v->panels + block * (g->KH * g->KW * g->Cg * WIDTH);
    const vec bias = v->bias ? load_some(v->bias + block * WIDTH, n) : (vec){};
    for (long tile = 0; tile < tiles; tile++) {
        const long begin = v->OW * tile / tiles, end = v->OW * (tile + 1) / tiles;
        vec sums[MOST_NARROW];
        for (long j = begin; j < end; j++) sums[j - begin] = bias;
        some_outputs(end - begin, g, ring, first, rows, begin, w, sums);
        for (long j = begin; j < end; j++) store_some(y + j * v->y_step, sums[j - begin], n);
    }
}

// Items are the blocks of all images
static void narrow_part(const void *context, long begin, long end, int piece) {
    const Grouped *g = context;
    const Conv *v = &g->v;
    float *ring = scratch(piece, 0, 4 * g->ring * g->slot);
    for (long r = begin; r < end; r++) {
        const long n = r / g->blocks, block = r % g->blocks;
        const float *image = v->x + n * v->H * v->W * v->C;
        float *y = v->y + n * v->y_image + block * WIDTH;
        for (long i = 0, next = 0; i < v->OH; i++, y += v->y_line) {
            next = spread_lines(g, image, block, i, next, ring);
            narrow_line(g, ring, i, block, y);
        }
    }
}

static void narrow_dw_line(const Grouped *g, float *ring, long i, const float *dy, long dy_step, float *sums) {
    const Conv *v = &g->v;
    const long first = i * v->sh - v->top, pixel = g->Cg * WIDTH, run = (g->dw == 1 ? g->KW : 1) * g->Cg;
    const long tiles = (run + MOST_NARROW - 1) / MOST_NARROW;
    const Taps rows = taps_inside(first, g->KH, g->dh, v->H);
    for (long h = rows.first; h < rows.last; h++)
        for (long k = 0; k < g->KW * g->Cg / run; k++)
            for (long tile = 0; tile < tiles; tile++) {
                const long begin = run * tile / tiles, end = run * (tile + 1) / tiles;
                const float *x = slot_of(g, ring, first + h * g->dh) + k * g->dw * pixel + begin * WIDTH;
                float *c = sums + ((h * g->KW * g->Cg) + k * run + begin) * WIDTH;
                some_taps(end - begin, x, v->sw * pixel, dy, dy_step, v->OW, c);
            }
}

static void narrow_dw_part(const void *context, long begin, long end, int piece) {
    const Grouped *g = context;
    const Conv *v = &g->v;
    const long size = g->KH * g->KW * g->Cg * WIDTH;
    float *sums = scratch(piece, 1, 4 * lanes_size(g));
    float *ring = scratch(piece, 0, 4 * (g->ring * g->slot + v->OW * WIDTH)), *line = ring + g->ring * g->slot;
    for (long r = begin * g->blocks; r < end * g->blocks; r++) {
        const long n = r / g->blocks, block = r % g->blocks, lanes = v->O - block * WIDTH;
        for (long i = 0, next = 0; i < v->OH; i++) {
            const float *dy = g->dy + n * v->y_image + i * v->y_line + block * WIDTH;
            next = spread_lines(g, v->x + n * v->H * v->W * v->C, block, i, next, ring);
            for (long j = 0; lanes < WIDTH && j < v->OW; j++) STORE(line + j * WIDTH, load_some(dy + j * v->O, lanes));
            narrow_dw_line(g, ring, i, lanes < WIDTH ? line : dy, lanes < WIDTH ? WIDTH : v->O, sums + block * size);
        }
    }
}

static void pack_lanes(const Grouped *g, const Chosen *taps, float *to) {
    for (long o = 0; o < g->v.O; o += WIDTH)
        for (long h = 0; h < g->KH; h++)
            for (long k = 0; k < g->KW; k++)
                for (long c = 0; c < g->Cg; c++, to += WIDTH)
                    STORE(to, load_some(chosen_tap(g, taps, h, k) + c * g->v.O + o, g->v.O - o));
}

// Write (or add) sums to dw (KH, KW, Cg, O)
static void unpack_lanes(const Grouped *g, const float *sums, float *dw, int add) {
    const long rows = g->KH * g->KW * g->Cg, O = g->v.O;
    for (long o = 0; o < O; o += WIDTH)
        for (long r = 0; r < rows; r++, sums += WIDTH) {
            float *to = dw + r * O + o;
            store_some(to, (add ? load_some(to, O - o) : (vec){}) + LOAD(sums), O - o);
        }
}

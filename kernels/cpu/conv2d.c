// Convolution, directly: no columns are gathered.
//
// In NHWC the KW C numbers under one line of the kernel are neighbors, and so are those of the next output, stride C
// further on: a convolution is a product whose left rows overlap. Forward: a tile holds some outputs of one line and a
// panel of output channels. dw: a tile holds some taps and channels, and walks over the pixels of an image. dx: the
// pixels of x at the same place under the stride form a phase, and each phase is a convolution of dy with some of the
// taps, rotated by 180 degrees (stride 1: one phase, all taps).
//
// Legend: x (N, H, W, C); w (KH, KW, C, O); y (N, OH, OW, O). Compute-bound. Oracle: ops/conv2d_im2col.py, float64.

// One convolution of stride (sh, sw) as forward and each phase of dx see it
typedef struct {
    const float *x, *panels, *bias;
    float *y;
    long N, H, W, C, OH, OW, O, KH, KW, sh, sw;
    long top, left;               // tap (kh, kw) of output (i, j) sees pixel (i sh + kh - top, j sw + kw - left)
    long y_image, y_line, y_step; // floats from image to image, line to line, output to output
    int relu, failed;
} Conv;

// Prefetch n floats that are read (or written) soon: processors do not predict jumps from line to line
INLINE void fetch(const float *p, long n, const int write) {
    if (write) // Clang requires a constant
        for (long k = 0; k < n; k += 16) __builtin_prefetch(p + k, 1, 2);
    else
        for (long k = 0; k < n; k += 16) __builtin_prefetch(p + k, 0, 2);
}

// Lines of x with the pixels that the outputs need, zeros where x has none; x itself where it needs no change
static const float *padded_lines(const Conv *v, const float *x, float *lines) {
    const long width = (v->OW - 1) * v->sw + v->KW, first = MAX(0, MIN(v->left, width));
    const long from = MAX(0, -v->left), count = MAX(0, MIN(v->W - from, width - first));
    for (long h = 0; h < v->H; h++, x += v->W * v->C, lines += width * v->C) {
        memset(lines, 0, 4 * first * v->C);
        memcpy(lines + first * v->C, x + from * v->C, 4 * count * v->C);
        memset(lines + (first + count) * v->C, 0, 4 * (width - first - count) * v->C);
    }
    return lines - v->H * width * v->C;
}

static int needs_padding(const Conv *v) {
    return v->left || (v->OW - 1) * v->sw + v->KW > v->W;
}

static void conv_line(const Conv *v, const float *x, long line, long i, float *y) {
    const long first = i * v->sh - v->top, begin = MAX(0, -first), end = MIN(v->KH, v->H - first), K = v->KW * v->C;
    const float *panel = v->panels;
    for (long o = 0; o < v->O; o += PANEL) {
        const long width = panel_width(v->O - o);
        Tile q = {
            .a = x + (first + begin) * line, .at = v->sw * v->C, .ah = line, .H = MAX(0, end - begin), .K = K,
            .b = panel + begin * K * width, .bk = width, .bh = K * width,
            .first = v->bias ? v->bias + o : 0, .relu = v->relu,
            .c = y + o, .ct = v->y_step, .width = MIN(PANEL, v->O - o),
        };
        run_tiles(q, v->OW, 1);
        panel += v->KH * K * width;
    }
}

static void conv_part(const void *context, long begin, long end, int thread) {
    const Conv *v = context;
    const int padded = needs_padding(v);
    const long line = (padded ? (v->OW - 1) * v->sw + v->KW : v->W) * v->C;
    float *lines = padded ? scratch(thread, 0, 4 * v->H * line) : 0;
    for (long n = begin; n < end; n++) {
        const float *x = v->x + n * v->H * v->W * v->C;
        if (padded) x = padded_lines(v, x, lines);
        for (long i = 0; i < v->OH; i++) {
            float *y = v->y + n * v->y_image + i * v->y_line;
            if (v->y_step > MIN(v->O, PANEL)) fetch(y + v->y_line, v->OW * v->y_step, 1); // written with gaps
            conv_line(v, x, line, i, y);
        }
    }
}

// Pack the taps first_h, first_h + step_h ... of w (KH, KW, C, O) for v
static void pack_taps(Conv *v, const float *w, long KW, long first_h, long step_h, long first_w, long step_w, float *to) {
    v->panels = to;
    for (long o = 0; o < v->O; o += PANEL)
        for (long h = 0; h < v->KH; h++)
            for (long k = 0; k < v->KW; k++) {
                const float *tap = w + ((first_h + h * step_h) * KW + first_w + k * step_w) * v->C * v->O + o;
                const long n = MIN(PANEL, v->O - o), width = panel_width(v->O - o);
                for (long c = 0; c < v->C; c++, to += width, tap += v->O) {
                    memcpy(to, tap, 4 * n);
                    memset(to + n, 0, 4 * (width - n));
                }
            }
}

#include "conv2d_taps.c"
#include "conv2d_winograd.c"
#include "conv2d_winograd_dw.c"

static int images_fit(const Arg *x, const Arg *w, const Arg *y) {
    return x->ndim == 4 && w->ndim == 4 && y->ndim == 4 && x->dim[0] == y->dim[0] && w->dim[2] == x->dim[3] &&
           w->dim[3] == y->dim[3];
}

KERNEL(conv2d) { // x, w, b, y, sh, sw, ph, pw, winograd
    COVER(images_fit(&a[0], &a[1], &a[3]) && (!a[2].f || a[2].size == a[1].dim[3]));
    const long *x = a[0].dim, *w = a[1].dim, *y = a[3].dim;
    Conv v = {
        .x = a[0].f, .bias = a[2].f, .y = a[3].f, .N = x[0], .H = x[1], .W = x[2], .C = x[3],
        .OH = y[1], .OW = y[2], .O = y[3], .KH = w[0], .KW = w[1], .sh = a[4].i, .sw = a[5].i,
        .top = a[6].i, .left = a[7].i, .y_image = y[1] * y[2] * y[3], .y_line = y[2] * y[3], .y_step = y[3],
    };
    COVER(v.OH == (v.H + 2 * v.top - v.KH) / v.sh + 1 && v.OW == (v.W + 2 * v.left - v.KW) / v.sw + 1);
    if (a[8].i) return winograd(&v, a[1].f);
    if (taps_pay(&v)) return conv_by_taps(&v, a[1].f);
    float *panels = scratch(0, 2, 4 * panels_size(v.KH * v.KW * v.C, v.O));
    COVER(panels);
    pack_taps(&v, a[1].f, v.KW, 0, 1, 0, 1, panels);
    if (a[3].size) parallel(conv_part, &v, v.N, 2.0 * v.OH * v.OW * a[1].size / 50);
    return 1;
}

// w (KH, KW, C, O) rotated by 180 degrees with its channels swapped: (KH, KW, O, C)
static const float *turned(const Arg *w) {
    const long taps = w->dim[0] * w->dim[1], C = w->dim[2], O = w->dim[3];
    float *out = scratch(0, 3, 4 * w->size);
    for (long k = 0; out && k < taps; k++) transpose(w->f + (taps - 1 - k) * C * O, C, O, out + k * C * O);
    return out;
}

// The taps of pixels with remainder r under a stride, along one side of K taps: the pixel r + m stride belongs to
// output m + tap - before through the rotated taps first, first + stride ..., count of them
typedef struct {
    long first, count, before;
} Phase;

static Phase phase_of(long r, long stride, long padding, long K) {
    const long nearest = (r + padding) % stride; // the lowest tap, not rotated
    Phase p = {.count = nearest < K ? (K - 1 - nearest) / stride + 1 : 0};
    p.first = K - 1 - (nearest + (p.count - 1) * stride);
    p.before = p.count - 1 - (r + padding - nearest) / stride;
    return p;
}

typedef struct {
    const Conv *all;
    int count;
} Phases;

// All phases of an image before the next image: dy and dx stay in the cache
static void phases_part(const void *context, long begin, long end, int thread) {
    const Phases *phases = context;
    for (long n = begin; n < end; n++)
        for (int k = 0; k < phases->count; k++) conv_part(&phases->all[k], n, n + 1, thread);
}

KERNEL(conv2d_dx) { // dy, w, dx, sh, sw, ph, pw, winograd
    COVER(images_fit(&a[2], &a[1], &a[0]));
    const long *y = a[0].dim, *w = a[1].dim, *x = a[2].dim, sh = a[3].i, sw = a[4].i, line = x[2] * x[3];
    const float *taps = turned(&a[1]);
    float *panels = scratch(0, 2, 4 * panels_size(w[0] * w[1] * w[3], w[2]));
    Conv *phases = scratch(0, 1, sh * sw * sizeof *phases);
    COVER(taps && panels && phases);
    int count = 0;
    for (long r = 0; r < MIN(sh, x[1]); r++)
        for (long s = 0; s < MIN(sw, x[2]); s++) {
            const Phase up = phase_of(r, sh, a[5].i, w[0]), along = phase_of(s, sw, a[6].i, w[1]);
            Conv v = {
                .x = a[0].f, .N = y[0], .H = y[1], .W = y[2], .C = y[3],
                .y = a[2].f + r * line + s * x[3], .OH = (x[1] - r + sh - 1) / sh, .OW = (x[2] - s + sw - 1) / sw,
                .O = x[3], .KH = up.count, .KW = along.count, .sh = 1, .sw = 1, .top = up.before, .left = along.before,
                .y_image = x[1] * line, .y_line = sh * line, .y_step = sw * x[3],
            };
            if (!v.KH || !v.KW) v.KH = v.KW = v.top = v.left = 0;
            if (a[7].i) return winograd(&v, taps);
            if (sh * sw == 1 && taps_pay(&v)) return conv_by_taps(&v, taps);
            pack_taps(&v, taps, w[1], up.first, sh, along.first, sw, panels);
            panels += panels_size(v.KH * v.KW * v.C, v.O);
            phases[count++] = v;
        }
    parallel(phases_part, &(Phases){phases, count}, y[0], 2.0 * y[1] * y[2] * a[1].size / 50 + .1 * x[1] * line);
    return 1;
}

// dw ------------------------------------------------------------------------------------------------------------------

typedef struct {
    Conv v;
    const float *dy;
    long sums; // floats that the sums of one thread take
} ConvDw;

// Add the gradient of one image to sums (KH, KW C, O); dy is padded by a vector where its columns are not whole vectors
static void conv_dw_image(const Conv *v, const float *x, long line, const float *dy, float *sums) {
    const long K = v->KW * v->C;
    for (long o = 0; o < v->O; o += PANEL)
        for (long h = 0; h < v->KH; h++) {
            // outputs i whose tap h is inside: 0 <= i sh + h - top < H
            const long begin = MAX(0, (v->top - h + v->sh - 1) / v->sh);
            const long last = v->H - 1 + v->top - h, end = last < 0 ? 0 : MIN(v->OH, last / v->sh + 1);
            if (begin >= end) continue;
            float *c = sums + h * K * v->O + o;
            Tile q = {
                .a = x + (begin * v->sh + h - v->top) * line, .ak = v->sw * v->C, .ah = v->sh * line,
                .H = end - begin, .K = v->OW, .b = dy + begin * v->OW * v->O + o, .bk = v->O, .bh = v->OW * v->O,
                .c = c, .ct = v->O, .first = c, .first_step = v->O, .width = MIN(PANEL, v->O - o),
            };
            run_tiles(q, K, 0);
        }
}

static void conv_dw_part(const void *context, long begin, long end, int thread) {
    const ConvDw *job = context;
    const Conv *v = &job->v;
    const int padded = needs_padding(v);
    const long line = (padded ? (v->OW - 1) * v->sw + v->KW : v->W) * v->C, pixels = v->OH * v->OW * v->O;
    float *lines = padded ? scratch(thread, 0, 4 * v->H * line) : 0;
    float *sums = scratch(thread, 1, 4 * (job->sums + pixels + PANEL)), *last = sums + job->sums;
    memset(sums, 0, 4 * job->sums);
    for (long n = begin; n < end; n++) {
        const float *x = v->x + n * v->H * v->W * v->C, *dy = job->dy + n * pixels;
        if (padded) x = padded_lines(v, x, lines);
        if ((v->N - 1 - n) * pixels < PANEL && v->O % PANEL) dy = memcpy(last, dy, 4 * pixels); // tiles read beyond its end
        conv_dw_image(v, x, line, dy, sums);
    }
}

KERNEL(conv2d_dw) { // x, dy, dw, sh, sw, ph, pw, winograd, accumulate
    COVER(images_fit(&a[0], &a[2], &a[1]));
    const long *x = a[0].dim, *y = a[1].dim, *w = a[2].dim;
    ConvDw job = {
        .v = {
            .x = a[0].f, .N = x[0], .H = x[1], .W = x[2], .C = x[3], .OH = y[1], .OW = y[2], .O = y[3],
            .KH = w[0], .KW = w[1], .sh = a[3].i, .sw = a[4].i, .top = a[5].i, .left = a[6].i,
        },
        .dy = a[1].f, .sums = a[2].size,
    };
    if (a[7].i) return winograd_dw(&job.v, job.dy, a[2].f, a[8].i);
    const int threads = MIN(num_threads(), MAX(1, x[0]));
    for (int t = 0; t < threads; t++) {
        float *sums = scratch(t, 1, 4 * (job.sums + y[1] * y[2] * y[3] + PANEL));
        COVER(sums);
        memset(sums, 0, 4 * job.sums); // a thread may have no images
    }
    parallel(conv_dw_part, &job, x[0], 2.0 * y[1] * y[2] * a[2].size / 50);
    add_up(threads, 1, a[2].f, a[2].size, a[8].i);
    return 1;
}

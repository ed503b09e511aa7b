// Depthwise convolution: each channel has a kernel of its own, so vectors run over channels and nothing is summed over
// them. Shapes: x (N, H, W, C); w (KH, KW, 1, C); y (N, OH, OW, C); any stride, padding and dilation. Memory-bound.
// Source: Howard et al. 2017, arXiv 1704.04861. Oracle: ops/conv2d_depthwise.py.

typedef struct {
    const float *x, *w, *bias, *dy;
    float *y; // or dx
    long N, H, W, C, OH, OW, KH, KW, sh, sw, ph, pw, dh, dw;
} Depthwise;

static int depthwise_of(const Arg *x, const Arg *w, const Arg *y, const Arg *how, Depthwise *v) {
    COVER(x->ndim == 4 && w->ndim == 4 && y->ndim == 4 && x->dim[0] == y->dim[0] && w->dim[2] == 1);
    *v = (Depthwise){
        .N = x->dim[0], .H = x->dim[1], .W = x->dim[2], .C = x->dim[3], .OH = y->dim[1], .OW = y->dim[2],
        .KH = w->dim[0], .KW = w->dim[1], .sh = how[0].i, .sw = how[1].i, .ph = how[2].i, .pw = how[3].i,
        .dh = how[4].i, .dw = how[5].i,
    };
    return w->dim[3] == v->C && y->dim[3] == v->C && v->OH == (v->H + 2 * v->ph - (v->KH - 1) * v->dh - 1) / v->sh + 1 &&
           v->OW == (v->W + 2 * v->pw - (v->KW - 1) * v->dw - 1) / v->sw + 1;
}

// The taps first to last - 1 of K that see pixels of a side of ``size``, where tap 0 sees ``place``
typedef struct {
    long first, last;
} Taps;

INLINE Taps taps_inside(long place, long K, long dilation, long size) {
    const Taps t = {place < 0 ? (-place + dilation - 1) / dilation : 0, place < size ? (size - 1 - place) / dilation + 1 : 0};
    return (Taps){t.first, MIN(K, t.last)};
}

// One line of y; ``whole``: channels are whole vectors
INLINE void depthwise_line(const Depthwise *v, const int whole, const float *image, long top, float *y) {
    const long C = v->C;
    const Taps rows = taps_inside(top, v->KH, v->dh, v->H);
    for (long j = 0; j < v->OW; j++, y += C) {
        const long left = j * v->sw - v->pw;
        const Taps columns = taps_inside(left, v->KW, v->dw, v->W);
        for (long c = 0; c < C; c += WIDTH) {
            const long n = whole ? WIDTH : C - c;
            vec sum = v->bias ? load_some(v->bias + c, n) : (vec){};
            for (long h = rows.first; h < rows.last; h++) {
                const float *x = image + ((top + h * v->dh) * v->W + left) * C + c, *w = v->w + h * v->KW * C + c;
                for (long k = columns.first; k < columns.last; k++)
                    sum += load_some(x + k * v->dw * C, n) * load_some(w + k * C, n);
            }
            store_some(y + c, sum, n);
        }
    }
}

static void depthwise_part(const void *context, long begin, long end, int piece) {
    const Depthwise *v = context;
    for (long r = begin; r < end; r++) {
        const float *image = v->x + r / v->OH * v->H * v->W * v->C;
        const long top = r % v->OH * v->sh - v->ph;
        float *y = v->y + r * v->OW * v->C;
        if (v->C % WIDTH)
            depthwise_line(v, 0, image, top, y);
        else
            depthwise_line(v, 1, image, top, y);
    }
}

static void run_depthwise(const Depthwise *v) {
    parallel(depthwise_part, v, v->N * v->OH, .15 * v->OW * v->KH * v->KW * v->C);
}

KERNEL(conv2d_depthwise) { // x, w, b, y, sh, sw, ph, pw, dh, dw
    Depthwise v;
    COVER(depthwise_of(&a[0], &a[1], &a[3], &a[4], &v) && (!a[2].f || a[2].size == v.C));
    v.x = a[0].f, v.w = a[1].f, v.bias = a[2].f, v.y = a[3].f;
    run_depthwise(&v);
    return 1;
}

// The output that a pixel is tap k of, along one side; -1 if there is none
INLINE long output_of(long pixel, long k, long stride, long padding, long dilation, long count) {
    const long place = pixel + padding - k * dilation;
    return place < 0 || place % stride || place / stride >= count ? -1 : place / stride;
}

static void depthwise_dx_part(const void *context, long begin, long end, int piece) {
    const Depthwise *v = context;
    const long C = v->C;
    for (long r = begin; r < end; r++) {
        float *dx = v->y + r * v->W * C;
        clear(dx, v->W * C);
        for (long h = 0; h < v->KH; h++) {
            const long i = output_of(r % v->H, h, v->sh, v->ph, v->dh, v->OH);
            const float *dy = v->dy + (r / v->H * v->OH + i) * v->OW * C;
            for (long k = 0; i >= 0 && k < v->KW; k++)
                for (long l = 0; l < v->W; l++) {
                    const long j = output_of(l, k, v->sw, v->pw, v->dw, v->OW);
                    for (long c = 0; j >= 0 && c < C; c += WIDTH) {
                        const vec more = load_some(dy + j * C + c, C - c) * load_some(v->w + (h * v->KW + k) * C + c, C - c);
                        store_some(dx + l * C + c, load_some(dx + l * C + c, C - c) + more, C - c);
                    }
                }
        }
    }
}

// Stride 1: dx is the convolution of dy with the kernels rotated by 180 degrees
static int depthwise_turned(Depthwise v) {
    const long taps = v.KH * v.KW;
    float *turned = scratch(0, 2, 4 * taps * v.C);
    COVER(turned);
    for (long k = 0; k < taps; k++) copy(turned + k * v.C, v.w + (taps - 1 - k) * v.C, v.C);
    const long H = v.H, W = v.W;
    v.x = v.dy, v.w = turned, v.H = v.OH, v.W = v.OW, v.OH = H, v.OW = W;
    v.ph = (v.KH - 1) * v.dh - v.ph, v.pw = (v.KW - 1) * v.dw - v.pw;
    run_depthwise(&v);
    return 1;
}

KERNEL(conv2d_depthwise_dx) { // dy, w, dx, sh, sw, ph, pw, dh, dw
    Depthwise v;
    COVER(depthwise_of(&a[2], &a[1], &a[0], &a[3], &v));
    v.dy = a[0].f, v.w = a[1].f, v.y = a[2].f;
    if (v.sh == 1 && v.sw == 1) return depthwise_turned(v);
    parallel(depthwise_dx_part, &v, v.N * v.H, .2 * v.W * a[1].size);
    return 1;
}

// Add to sums (KW, C) the contribution of one line of outputs through each tap of one row of the kernel
INLINE void depthwise_dw_line(const Depthwise *v, const int whole, const float *line, const float *dy, float *sums) {
    const long C = v->C;
    for (long k = 0; k < v->KW; k++) {
        const long place = k * v->dw - v->pw; // of output 0
        const Taps outputs = taps_inside(place, v->OW, v->sw, v->W);
        for (long c = 0; c < C; c += WIDTH) {
            const long n = whole ? WIDTH : C - c;
            const float *x = line + place * C + c;
            vec sum = load_some(sums + k * C + c, n);
            for (long j = outputs.first; j < outputs.last; j++)
                sum += load_some(x + j * v->sw * C, n) * load_some(dy + j * C + c, n);
            store_some(sums + k * C + c, sum, n);
        }
    }
}

static void depthwise_dw_part(const void *context, long begin, long end, int piece) {
    const Depthwise *v = context;
    const long C = v->C;
    float *sums = scratch(piece, 1, 4 * v->KH * v->KW * C);
    for (long r = begin; r < end; r++) {
        const long top = r % v->OH * v->sh - v->ph;
        const Taps rows = taps_inside(top, v->KH, v->dh, v->H);
        for (long h = rows.first; h < rows.last; h++) {
            const float *line = v->x + (r / v->OH * v->H + top + h * v->dh) * v->W * C, *dy = v->dy + r * v->OW * C;
            if (C % WIDTH)
                depthwise_dw_line(v, 0, line, dy, sums + h * v->KW * C);
            else
                depthwise_dw_line(v, 1, line, dy, sums + h * v->KW * C);
        }
    }
}

KERNEL(conv2d_depthwise_dw) { // x, dy, dw, sh, sw, ph, pw, dh, dw, accumulate
    Depthwise v;
    COVER(depthwise_of(&a[0], &a[2], &a[1], &a[3], &v));
    v.x = a[0].f, v.dy = a[1].f;
    const int pieces = num_threads();
    for (int t = 0; t < pieces; t++) {
        COVER(scratch(t, 1, 4 * a[2].size));
        memset(scratch(t, 1, 4 * a[2].size), 0, 4 * a[2].size);
    }
    parallel(depthwise_dw_part, &v, v.N * v.OH, .2 * v.OW * a[2].size);
    add_up(pieces, 1, a[2].f, a[2].size, a[9].i);
    return 1;
}

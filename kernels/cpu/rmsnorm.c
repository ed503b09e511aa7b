// Root mean square normalization, row by row: y = w x r, r = 1 / sqrt(mean of x^2 + eps); backward in one pass.
// Shapes: x, y, dy, dx (M, C); w, dw (C,); r (M, 1). Memory-bound. Formula and oracle: ops/rmsnorm.py.

static void rmsnorm_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long C = a[0].dim[1];
    const float *w = a[1].f, eps = (float)a[2].x;
    for (long m = begin; m < end; m++) {
        const float *x = a[0].f + m * C;
        float *y = a[4].f + m * C;
        vec squares = {};
        for (long c = 0; c < C; c += WIDTH) {
            const vec some = load_some(x + c, C - c);
            squares += some * some;
        }
        const float r = a[3].f[m] = 1 / sqrtf(sum(squares) / C + eps);
        for (long c = 0; c < C; c += WIDTH) store_some(y + c, load_some(x + c, C - c) * r * load_some(w + c, C - c), C - c);
    }
}

KERNEL(rmsnorm) { // x, w, eps, r, y
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[4].size == a[0].size);
    COVER(a[1].size == a[0].dim[1] && a[3].size == a[0].dim[0]);
    parallel(rmsnorm_part, a, a[0].dim[0], .3 * a[0].dim[1] + 10);
    return 1;
}

// dx of all rows of a piece; its dw is added up over 64 rows at a time, since rounding errors grow with the length of a sum
static void rmsnorm_backward_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long C = a[0].dim[1];
    const float *w = a[3].f;
    float *total = scratch(piece, 1, 8 * C), *sums = total + C;
    for (long m = begin; m < end; m++) {
        const float *dy = a[0].f + m * C, *x = a[1].f + m * C, r = a[2].f[m];
        float *dx = a[5].f + m * C;
        vec dots = {};
        for (long c = 0; c < C; c += WIDTH) {
            const vec slope = load_some(dy + c, C - c) * load_some(x + c, C - c);
            dots += slope * load_some(w + c, C - c);
            store_some(sums + c, load_some(sums + c, C - c) + slope * r, C - c);
        }
        const float along = sum(dots) / C * r * r;
        for (long c = 0; c < C; c += WIDTH) {
            const vec g = load_some(dy + c, C - c) * load_some(w + c, C - c);
            store_some(dx + c, (g - load_some(x + c, C - c) * along) * r, C - c);
        }
        if (m == end - 1 || m % 64 == 63) {
            EACH for (long c = 0; c < C; c++) total[c] += sums[c];
            clear(sums, C);
        }
    }
}

KERNEL(rmsnorm_backward) { // dy, x, r, w, dw, dx, which may be dy, accumulate
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[1].size == a[0].size && a[5].size == a[0].size);
    const long M = a[0].dim[0], C = a[0].dim[1];
    COVER(a[2].size == M && a[3].size == C && a[4].size == C);
    const int pieces = num_threads();
    for (int t = 0; t < pieces; t++) {
        COVER(scratch(t, 1, 8 * C));
        memset(scratch(t, 1, 8 * C), 0, 8 * C);
    }
    parallel(rmsnorm_backward_part, a, M, .5 * C + 10);
    add_up(pieces, 1, a[4].f, C, a[6].i);
    return 1;
}

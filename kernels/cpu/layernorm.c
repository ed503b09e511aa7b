// Layer normalization, row by row: y = w z + b, z = (x - mean) r, r = 1 / sqrt(var + eps).
// Shapes: x, y, z, dy, dx (M, C); w, b, dw, db (C,); r (M, 1). Memory-bound. Formula and oracle: ops/layernorm.py.
#include <math.h>

static void layernorm_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long C = a[0].dim[1];
    const float eps = (float)a[3].x;
    for (long m = begin; m < end; m++) {
        const float *x = a[0].f + m * C;
        float *z = a[4].f + m * C, *y = a[6].f + m * C;
        vec sums = {}, squares = {};
        for (long c = 0; c < C; c += WIDTH) sums += load_some(x + c, C - c);
        const float mean = sum(sums) / C;
        for (long c = 0; c < C; c += WIDTH) {
            const vec centered = choose(first_lanes(C - c), load_some(x + c, C - c) - mean, (vec){});
            squares += centered * centered;
        }
        const float r = a[5].f[m] = 1 / sqrtf(sum(squares) / C + eps);
        for (long c = 0; c < C; c += WIDTH) {
            const vec normal = (load_some(x + c, C - c) - mean) * r;
            store_some(z + c, normal, C - c);
            store_some(y + c, normal * load_some(a[1].f + c, C - c) + load_some(a[2].f + c, C - c), C - c);
        }
    }
}

KERNEL(layernorm) { // x, w, b, eps, z, r, y
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[4].size == a[0].size && a[6].size == a[0].size);
    const long M = a[0].dim[0], C = a[0].dim[1];
    COVER(a[1].size == C && a[2].size == C && a[5].size == M);
    parallel(layernorm_part, a, M, .6 * C + 10);
    return 1;
}

static void layernorm_dx_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long C = a[0].dim[1];
    for (long m = begin; m < end; m++) {
        const float *dy = a[0].f + m * C, *z = a[1].f + m * C, *w = a[3].f, r = a[2].f[m];
        float *dx = a[4].f + m * C;
        vec sums = {}, dots = {};
        for (long c = 0; c < C; c += WIDTH) {
            const vec g = load_some(dy + c, C - c) * load_some(w + c, C - c);
            sums += g, dots += g * load_some(z + c, C - c);
        }
        const float mean = sum(sums) / C, dot = sum(dots) / C;
        for (long c = 0; c < C; c += WIDTH) {
            const vec g = load_some(dy + c, C - c) * load_some(w + c, C - c);
            store_some(dx + c, (g - mean - load_some(z + c, C - c) * dot) * r, C - c);
        }
    }
}

KERNEL(layernorm_dx) { // dy, z, r, w, dx
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[1].size == a[0].size && a[4].size == a[0].size);
    COVER(a[2].size == a[0].dim[0] && a[3].size == a[0].dim[1]);
    parallel(layernorm_dx_part, a, a[0].dim[0], .5 * a[0].dim[1] + 10);
    return 1;
}

// Add to the sums (2, C) of a piece dy z and dy, over 64 rows at a time
static void layernorm_dw_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long C = a[0].dim[1];
    float *sums = scratch(piece, 1, 8 * C);
    for (long r = begin; r < end; r += 64)
        for (long c = 0; c < C; c += WIDTH) {
            const float *dy = a[0].f + c, *z = a[1].f + c;
            vec dw = {}, db = {};
            for (long m = r; m < MIN(end, r + 64); m++) {
                const vec slope = load_some(dy + m * C, C - c);
                dw += slope * load_some(z + m * C, C - c), db += slope;
            }
            store_some(sums + c, load_some(sums + c, C - c) + dw, C - c);
            store_some(sums + C + c, load_some(sums + C + c, C - c) + db, C - c);
        }
}

KERNEL(layernorm_dw) { // dy, z, both (2, C): dw and db
    COVER(a[0].ndim == 2 && a[0].size == a[1].size && a[2].size == 2 * a[0].dim[1]);
    const int pieces = num_threads();
    for (int t = 0; t < pieces; t++) {
        COVER(scratch(t, 1, 4 * a[2].size));
        memset(scratch(t, 1, 4 * a[2].size), 0, 4 * a[2].size);
    }
    parallel(layernorm_dw_part, a, a[0].dim[0], .3 * a[0].dim[1]);
    add_up(pieces, 1, a[2].f, a[2].size, 0);
    return 1;
}

// dx of all rows of a piece, and its dw and db, added up over 64 rows at a time
static void layernorm_backward_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long C = a[0].dim[1];
    const float *w = a[3].f;
    float *total = scratch(piece, 1, 16 * C), *dw = total + 2 * C, *db = dw + C;
    for (long m = begin; m < end; m++) {
        const float *dy = a[0].f + m * C, *z = a[1].f + m * C, r = a[2].f[m];
        float *dx = a[6].f + m * C;
        vec sums = {}, dots = {};
        for (long c = 0; c < C; c += WIDTH) {
            const long n = C - c;
            const vec slope = load_some(dy + c, n), normal = load_some(z + c, n), along = slope * normal;
            const vec weight = load_some(w + c, n);
            sums += slope * weight, dots += along * weight;
            store_some(dw + c, load_some(dw + c, n) + along, n);
            store_some(db + c, load_some(db + c, n) + slope, n);
        }
        const float mean = sum(sums) / C, dot = sum(dots) / C;
        for (long c = 0; c < C; c += WIDTH) {
            const vec g = load_some(dy + c, C - c) * load_some(w + c, C - c);
            store_some(dx + c, (g - mean - load_some(z + c, C - c) * dot) * r, C - c);
        }
        if (m == end - 1 || m % 64 == 63) {
            EACH for (long c = 0; c < 2 * C; c++) total[c] += dw[c];
            clear(dw, 2 * C);
        }
    }
}

KERNEL(layernorm_backward) { // dy, z, r, w, dw, db, dx, which may be dy, adds_dw, adds_db
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[1].size == a[0].size && a[6].size == a[0].size);
    const long M = a[0].dim[0], C = a[0].dim[1];
    COVER(a[2].size == M && a[3].size == C && a[4].size == C && a[5].size == C);
    const int pieces = num_threads();
    for (int t = 0; t < pieces; t++) {
        COVER(scratch(t, 1, 16 * C));
        memset(scratch(t, 1, 16 * C), 0, 16 * C);
    }
    parallel(layernorm_backward_part, a, M, .7 * C + 10);
    for (int which = 0; which < 2; which++) {
        float *to = a[4 + which].f;
        if (!a[7 + which].i) clear(to, C);
        for (int t = 0; t < pieces; t++) {
            const float *part = (float *)scratch(t, 1, 0) + which * C;
            EACH for (long c = 0; c < C; c++) to[c] += part[c];
        }
    }
    return 1;
}

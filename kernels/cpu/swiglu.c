// SwiGLU: y = a sigmoid(a) b of the halves a, b of each row, and its gradient, for which the sigmoid is computed again.
// Shapes: x, dx (M, 2 C); y, dy (M, C). Bound by arithmetic (an exponential each). Formula and oracle: ops/swiglu.py.

static void swiglu_part(const void *context, long begin, long end, int piece) {
    const Arg *arg = context;
    const long C = arg[1].dim[1];
    for (long m = begin; m < end; m++) {
        const float *a = arg[0].f + 2 * m * C, *b = a + C;
        float *y = arg[1].f + m * C;
        for (long c = 0; c < C; c += WIDTH) {
            const vec gate = load_some(a + c, C - c);
            store_some(y + c, gate * sigmoid_of(gate) * load_some(b + c, C - c), C - c);
        }
    }
}

KERNEL(swiglu) { // x, y
    COVER(a[0].ndim == 2 && a[1].ndim == 2 && a[0].dim[0] == a[1].dim[0] && a[0].dim[1] == 2 * a[1].dim[1]);
    parallel(swiglu_part, a, a[1].dim[0], .7 * a[1].dim[1] + 5);
    return 1;
}

static void swiglu_dx_part(const void *context, long begin, long end, int piece) {
    const Arg *arg = context;
    const long C = arg[1].dim[1];
    for (long m = begin; m < end; m++) {
        const float *a = arg[0].f + 2 * m * C, *b = a + C, *dy = arg[1].f + m * C;
        float *da = arg[2].f + 2 * m * C, *db = da + C;
        for (long c = 0; c < C; c += WIDTH) {
            const vec gate = load_some(a + c, C - c), slope = load_some(dy + c, C - c), s = sigmoid_of(gate);
            const vec open = gate * s;
            store_some(da + c, slope * load_some(b + c, C - c) * s * (1 + gate - open), C - c);
            store_some(db + c, slope * open, C - c);
        }
    }
}

KERNEL(swiglu_dx) { // x, dy, dx
    COVER(a[0].ndim == 2 && a[1].ndim == 2 && a[0].dim[0] == a[1].dim[0] && a[0].dim[1] == 2 * a[1].dim[1]);
    COVER(a[2].ndim == 2 && a[2].dim[0] == a[0].dim[0] && a[2].dim[1] == a[0].dim[1]);
    parallel(swiglu_dx_part, a, a[1].dim[0], a[1].dim[1] + 5);
    return 1;
}

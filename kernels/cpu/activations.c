// Activations: y = f(x), element by element; dx may be dy itself. Memory-bound. Oracle: ops/activations.py.

static void relu_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    const float *x = a[0].f;
    float *y = a[1].f;
    EACH for (long i = begin; i < end; i++) y[i] = relu_of(x[i]);
}

KERNEL(relu) { // x, y
    COVER(a[0].size == a[1].size);
    parallel(relu_part, a, a[0].size, 0.2);
    return 1;
}

static void relu_dx_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    const float *y = a[0].f, *dy = a[1].f;
    float *dx = a[2].f;
    EACH for (long i = begin; i < end; i++) dx[i] = y[i] > 0 ? dy[i] : 0;
}

KERNEL(relu_dx) { // y, dy, dx, mask (not used)
    COVER(a[0].size == a[1].size && a[1].size == a[2].size);
    parallel(relu_dx_part, a, a[0].size, 0.2);
    return 1;
}

static void add_relu_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    const float *p = a[0].f, *q = a[1].f;
    float *y = a[2].f;
    EACH for (long i = begin; i < end; i++) y[i] = relu_of(p[i] + q[i]);
}

KERNEL(add_relu) { // a, b, y
    COVER(a[0].size == a[1].size && a[1].size == a[2].size);
    parallel(add_relu_part, a, a[0].size, 0.3);
    return 1;
}

static void add_relu_dx_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    const float *y = a[0].f;
    float *dy = a[1].f, *copy = a[2].f;
    EACH for (long i = begin; i < end; i++) copy[i] = dy[i] = y[i] > 0 ? dy[i] : 0;
}

KERNEL(add_relu_dx) { // y, dy, copy
    COVER(a[0].size == a[1].size && a[1].size == a[2].size);
    parallel(add_relu_dx_part, a, a[0].size, 0.4);
    return 1;
}

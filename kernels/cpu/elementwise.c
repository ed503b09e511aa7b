// Element-by-element operations: activations and their gradients, a sum with its ReLU. dx may be dy. Memory-bound but
// for the exponentials of sigmoid and SiLU. Oracle: ops/elementwise.py (where NumPy's tanh is as fast as C would be).

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

KERNEL(relu_dx) { // y, dy, dx
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

INLINE vec sigmoid_of(vec x) {
    return 1 / (1 + exp_of(-x));
}

static void sigmoid_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    for (long i = begin; i < end; i += WIDTH) store_some(a[1].f + i, sigmoid_of(load_some(a[0].f + i, end - i)), end - i);
}

KERNEL(sigmoid) { // x, y
    COVER(a[0].size == a[1].size);
    parallel(sigmoid_part, a, a[0].size, .5);
    return 1;
}

static void silu_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    for (long i = begin; i < end; i += WIDTH) {
        const vec x = load_some(a[0].f + i, end - i), s = sigmoid_of(x);
        store_some(a[1].f + i, s, end - i);
        store_some(a[2].f + i, x * s, end - i);
    }
}

KERNEL(silu) { // x, s, y
    COVER(a[0].size == a[1].size && a[0].size == a[2].size);
    parallel(silu_part, a, a[0].size, .6);
    return 1;
}

#define SLOPE(name, factor)                                                                 \
    static void name##_part(const void *context, long begin, long end, int piece) {         \
        const Arg *a = context;                                                             \
        const float *y = a[0].f, *dy = a[1].f;                                              \
        float *dx = a[2].f;                                                                 \
        EACH for (long i = begin; i < end; i++) dx[i] = dy[i] * (factor);                   \
    }                                                                                       \
    KERNEL(name) {                                                                          \
        COVER(a[0].size == a[1].size && a[0].size == a[2].size);                            \
        parallel(name##_part, a, a[0].size, .2);                                            \
        return 1;                                                                           \
    }
SLOPE(tanh_dx, 1 - y[i] * y[i])      // y, dy, dx
SLOPE(sigmoid_dx, (1 - y[i]) * y[i]) // y, dy, dx
#undef SLOPE

static void silu_dx_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const float *s = a[0].f, *y = a[1].f, *dy = a[2].f;
    float *dx = a[3].f;
    EACH for (long i = begin; i < end; i++) dx[i] = dy[i] * (s[i] + y[i] * (1 - s[i]));
}

KERNEL(silu_dx) { // s, y, dy, dx
    COVER(a[0].size == a[1].size && a[0].size == a[2].size && a[0].size == a[3].size);
    parallel(silu_dx_part, a, a[0].size, .3);
    return 1;
}

// GELU: y = x Phi(x) and its slope y', one pass. Bound by arithmetic (an exponential each). Formulas, the polynomial and
// its source, and the oracle: ops/gelu.py.

INLINE void gelu_of(vec x, vec *y, vec *slope) {
    const vec gauss = exp_of(x * x * -.5f), t = 1 / (1 + choose(x < 0, -x, x) * (.34f * .70710678f));
    vec tail = t * (.5f * -.246983740380f) + .5f * 1.087616016446f; // erfc(|x| / sqrt 2) / 2
    tail = tail * t + .5f * -1.250995937784f;
    tail = tail * t + .5f * 1.211197540389f;
    tail = tail * t + .5f * -.286042988578f;
    tail = tail * t + .5f * .305061452774f;
    tail = tail * t + .5f * .180147656414f;
    tail = tail * t * gauss;
    const vec phi = choose(x > 0, 1 - tail, tail);
    *y = x * phi;
    *slope = phi + x * gauss * .39894228f;
}

// phi = (1 + tanh u) / 2 = 1 / (1 + exp(-2 u)), u = a (x + b x^3)
INLINE void gelu_tanh_of(vec x, vec *y, vec *slope) {
    const float a = .79788456f, b = .044715f;
    const vec square = x * x, phi = 1 / (1 + exp_of(x * (square * (-2 * a * b) - 2 * a)));
    *y = x * phi;
    *slope = phi + *y * (1 - phi) * (2 * a + 6 * a * b * square);
}

#define GELU(name)                                                                          \
    static void name##_part(const void *context, long begin, long end, int piece) {         \
        const Arg *a = context;                                                             \
        for (long i = begin; i < end; i += WIDTH) {                                         \
            vec y, slope;                                                                   \
            name##_of(load_some(a[0].f + i, end - i), &y, &slope);                          \
            store_some(a[1].f + i, y, end - i);                                             \
            store_some(a[2].f + i, slope, end - i);                                         \
        }                                                                                   \
    }                                                                                       \
    KERNEL(name) {                                                                          \
        COVER(a[0].size == a[1].size && a[0].size == a[2].size);                            \
        parallel(name##_part, a, a[0].size, 1);                                             \
        return 1;                                                                           \
    }
GELU(gelu)      // x, y, slope
GELU(gelu_tanh) // x, y, slope
#undef GELU

static void gelu_dx_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const float *slope = a[0].f, *dy = a[1].f;
    float *dx = a[2].f;
    EACH for (long i = begin; i < end; i++) dx[i] = dy[i] * slope[i];
}

KERNEL(gelu_dx) { // slope, dy, dx, which may be dy
    COVER(a[0].size == a[1].size && a[0].size == a[2].size);
    parallel(gelu_dx_part, a, a[0].size, .2);
    return 1;
}

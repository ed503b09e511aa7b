// Batch normalization: the passes over images; between them Python computes a few numbers per channel.
// Shapes: x, y, dy, dx (..., C), seen as P pixels; vectors (C,) float64. Memory-bound. Oracle: ops/batchnorm.py.
// x may be the first channels of wider pixels, which are `apart` elements from one to the next.
// Sums run in single precision over 64 pixels and in double precision over those; threads share the pixels.

#define PIXELS 64
#define MOST_CHANNELS 4096

// Elements from one pixel of x (kind s) to the next; 0 where they are not equally far from each other
static long pixels_apart(const Arg *x) {
    const int last = x->ndim - 1;
    if (last < 0 || !x->size) return last >= 0;
    if (x->dim[last] > 1 && x->stride[last] != 4) return 0;
    long apart = x->dim[last] * 4, count = 0; // bytes, of one pixel alone
    for (int d = last - 1; d >= 0; d--) {
        if (x->dim[d] == 1) continue;
        if (count && x->stride[d] != apart * count) return 0;
        if (!count) apart = x->stride[d], count = 1;
        count *= x->dim[d];
    }
    return apart > 0 && apart % 4 == 0 ? apart / 4 : 0;
}

typedef struct {
    const Arg *a;
    const float *first; // the center of each channel
    long C, apart;
} Moments;

// sums (2, C) += (sum of x - first, sum of its square)
static void moments_part(const void *context, long begin, long end, int thread) {
    const Moments *m = context;
    const long C = m->C;
    double *sums = scratch(thread, 1, 16 * C);
    for (long p = begin; p < end; p += PIXELS)
        for (long c = 0; c < C; c += WIDTH) {
            const long n = C - c, stop = MIN(p + PIXELS, end);
            const vec first = load_some(m->first + c, n);
            vec s = {}, t = {};
            for (long i = p; i < stop; i++) {
                const vec x = load_some(m->a[0].f + i * m->apart + c, n) - first;
                s += x, t += x * x;
            }
            for (int k = 0; k < MIN(WIDTH, n); k++) sums[c + k] += s[k], sums[C + c + k] += t[k];
        }
}

// Zero the sums of all threads that a job over count pixels may use, and return how many those are; 0: no memory
static int clear_sums(long count, long size) {
    const int threads = MIN(num_threads(), MAX(1, count));
    for (int t = 0; t < threads; t++) {
        double *sums = scratch(t, 1, 8 * size);
        if (!sums) return 0;
        memset(sums, 0, 8 * size);
    }
    return threads;
}

static double total(int threads, long i) {
    double s = 0;
    for (int t = 0; t < threads; t++) s += ((const double *)scratch(t, 1, 0))[i];
    return s;
}

KERNEL(batchnorm_statistics) { // x, mean (C,), squares (C,): of the difference from the mean, rounded to single
    const long C = a[1].size, P = C ? a[0].size / C : 0;
    COVER(C && C <= MOST_CHANNELS && a[2].size == C && a[0].ndim && a[0].dim[a[0].ndim - 1] == C);
    const Moments m = {a, a[0].f, C, pixels_apart(&a[0])};
    COVER(m.apart);
    const int threads = clear_sums(P, 2 * C);
    COVER(threads);
    parallel(moments_part, &m, P, .15 * C);
    for (long c = 0; c < C; c++) {
        const double first = P ? a[0].f[c] : 0, s = total(threads, c) / MAX(1, P);
        const double mean = (float)(first + s), rest = first + s - mean;
        a[1].d[c] = mean;
        a[2].d[c] = MAX(0, total(threads, C + c) - P * s * s) + P * rest * rest;
    }
    return 1;
}

static void to_single(const Arg *a, float *to) {
    for (long c = 0; c < a->size; c++) to[c] = (float)a->d[c];
}

typedef struct {
    const float *x, *dy, *y;
    float *out;
    long C, relu, apart;
    float mean[MOST_CHANNELS], a[MOST_CHANNELS], b[MOST_CHANNELS], c[MOST_CHANNELS];
} Affine;

static Affine affine; // kernels run one at a time

static void batchnorm_part(const void *context, long begin, long end, int thread) {
    const Affine *f = context;
    for (long i = begin; i < end; i++)
        for (long c = 0; c < f->C; c += WIDTH) {
            const long n = f->C - c, at = i * f->C + c;
            vec y = (load_some(f->x + i * f->apart + c, n) - LOAD(f->mean + c)) * LOAD(f->a + c) + LOAD(f->c + c);
            if (f->relu) y = choose(y < 0, (vec){}, y);
            store_some(f->out + at, y, n);
        }
}

KERNEL(batchnorm) { // x, mean, scale, shift, y, relu: y = scale (x - mean) + shift
    const long C = a[1].size;
    COVER(C && C < MOST_CHANNELS - WIDTH && a[2].size == C && a[3].size == C && a[0].size == a[4].size);
    COVER(a[0].ndim && a[0].dim[a[0].ndim - 1] == C);
    affine.x = a[0].f, affine.out = a[4].f, affine.C = C, affine.relu = a[5].i, affine.apart = pixels_apart(&a[0]);
    COVER(affine.apart);
    to_single(&a[1], affine.mean), to_single(&a[2], affine.a), to_single(&a[3], affine.c);
    parallel(batchnorm_part, &affine, a[0].size / C, .2 * C);
    return 1;
}

INLINE vec masked(const float *dy, const float *y, long n) {
    const vec g = load_some(dy, n);
    return y ? choose(load_some(y, n) > 0, g, (vec){}) : g;
}

static void batchnorm_sums_part(const void *context, long begin, long end, int thread) {
    const Affine *f = context;
    const long C = f->C;
    double *sums = scratch(thread, 1, 16 * C);
    for (long p = begin; p < end; p += PIXELS)
        for (long c = 0; c < C; c += WIDTH) {
            const long n = C - c, stop = MIN(p + PIXELS, end);
            vec s = {}, t = {};
            for (long i = p; i < stop; i++) {
                const vec g = masked(f->dy + i * C + c, f->y ? f->y + i * C + c : 0, n);
                s += g, t += g * (load_some(f->x + i * f->apart + c, n) - LOAD(f->mean + c));
            }
            for (int k = 0; k < MIN(WIDTH, n); k++) sums[c + k] += s[k], sums[C + c + k] += t[k];
        }
}

KERNEL(batchnorm_sums) { // dy, x, mean, y or None, sums (C,), dots (C,)
    const long C = a[2].size;
    COVER(C && C < MOST_CHANNELS - WIDTH && a[4].size == C && a[5].size == C && a[0].size == a[1].size);
    COVER(a[0].ndim && a[0].dim[a[0].ndim - 1] == C && (!a[3].f || a[3].size == a[0].size));
    affine.dy = a[0].f, affine.x = a[1].f, affine.y = a[3].f, affine.C = C, affine.apart = pixels_apart(&a[1]);
    COVER(affine.apart);
    to_single(&a[2], affine.mean);
    const int threads = clear_sums(a[0].size / C, 2 * C);
    COVER(threads);
    parallel(batchnorm_sums_part, &affine, a[0].size / C, .25 * C);
    for (long c = 0; c < C; c++) a[4].d[c] = total(threads, c), a[5].d[c] = total(threads, C + c);
    return 1;
}

static void batchnorm_dx_part(const void *context, long begin, long end, int thread) {
    const Affine *f = context;
    for (long i = begin; i < end; i++)
        for (long c = 0; c < f->C; c += WIDTH) {
            const long n = f->C - c, at = i * f->C + c;
            const vec g = masked(f->dy + at, f->y ? f->y + at : 0, n);
            const vec x = load_some(f->x + i * f->apart + c, n) - LOAD(f->mean + c);
            store_some(f->out + at, g * LOAD(f->a + c) + x * LOAD(f->b + c) + LOAD(f->c + c), n);
        }
}

KERNEL(batchnorm_dx) { // dy, x, mean, y or None, a, b, c, dx: dx = a dy + b (x - mean) + c, dy 0 where y is
    const long C = a[2].size;
    COVER(C && C < MOST_CHANNELS - WIDTH && a[4].size == C && a[5].size == C && a[6].size == C);
    COVER(a[0].size == a[1].size && a[0].size == a[7].size && (!a[3].f || a[3].size == a[0].size));
    COVER(a[0].ndim && a[0].dim[a[0].ndim - 1] == C);
    affine.dy = a[0].f, affine.x = a[1].f, affine.y = a[3].f, affine.out = a[7].f, affine.C = C;
    affine.apart = pixels_apart(&a[1]);
    COVER(affine.apart);
    to_single(&a[2], affine.mean), to_single(&a[4], affine.a), to_single(&a[5], affine.b), to_single(&a[6], affine.c);
    parallel(batchnorm_dx_part, &affine, a[0].size / C, .3 * C);
    return 1;
}

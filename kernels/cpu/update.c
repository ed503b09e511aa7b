// Optimizers: gradients of several ranks are summed and the weights updated in one pass, so that the sum never leaves
// the first cache. Memory-bound: n elements of each source are read, n of w and of each slot read and written.
//
// sources are addresses, of n floats each, summed in their order; bounds holds begin and end of each part that decays.
// Oracle: ops/update.py. The rounding of an element does not depend on its position, so slices give the results of the
// whole.

#define FLOATS(address) ((float *)(intptr_t)(address))
#define BLOCK (4 * WIDTH)

// Elements begin to end: each target = the sum of all sources, which may be among the targets. A block is summed in
// registers and written from there: a pass over a chunk for each source and each target took twice the time.
static void sum_range(const Arg *sources, const Arg *targets, long begin, long end) {
    long i = begin;
    for (; i + BLOCK <= end; i += BLOCK) {
        vec total[4];
        UNROLL for (int j = 0; j < 4; j++) total[j] = LOAD(FLOATS(sources->l[0]) + i + j * WIDTH);
        for (long k = 1; k < sources->size; k++) {
            UNROLL for (int j = 0; j < 4; j++) total[j] += LOAD(FLOATS(sources->l[k]) + i + j * WIDTH);
        }
        for (long k = 0; k < targets->size; k++) {
            UNROLL for (int j = 0; j < 4; j++) STORE(FLOATS(targets->l[k]) + i + j * WIDTH, total[j]);
        }
    }
    for (; i < end; i++) {
        float total = FLOATS(sources->l[0])[i];
        for (long k = 1; k < sources->size; k++) total += FLOATS(sources->l[k])[i];
        for (long k = 0; k < targets->size; k++) FLOATS(targets->l[k])[i] = total;
    }
}

// g = the sum of n elements of all sources from ``at`` on: in ``own``, or in place if there is only one
static const float *sum_chunk(const Arg *sources, long at, long n, float *own) {
    if (sources->size == 1) return FLOATS(sources->l[0]) + at;
    int64_t address = (intptr_t)own - 4 * at;
    sum_range(sources, &(Arg){.l = &address, .size = 1}, at, at + n);
    return own;
}

// Where the decay changes next, from ``at`` on (at most ``stop``); *decays holds until there
static long next_change(const Arg *decayed, long at, long stop, int *decays) {
    *decays = 0;
    for (long i = 0; i + 1 < decayed->size; i += 2) {
        if (at < decayed->l[i]) return MIN(stop, decayed->l[i]);
        if (at < decayed->l[i + 1]) {
            *decays = 1;
            return MIN(stop, decayed->l[i + 1]);
        }
    }
    return stop;
}

static void sum_sources_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    for (long at = begin; at < end; at += CHUNK) {
        const long stop = MIN(at + CHUNK, end);
        sum_range(a, a + 1, at, stop);
        if (thread < a[3].size) a[3].d[thread] += squares_of(FLOATS(a[1].l[0]) + at, stop - at);
    }
}

// y = the sum of all sources, for each target y, which may be a source; squares (one place for each thread, or none)
// grow by |y|^2
KERNEL(sum_sources) { // sources, targets, count, squares
    COVER(a[0].size > 0 && a[1].size > 0 && (!a[3].size || a[3].size >= num_threads()));
    parallel(sum_sources_part, a, a[2].i, 0.25 * (a[0].size + a[1].size));
    return 1;
}

static void sgd_chunk(const float *g, float *w, float *v, long n, float scale, float decay, float momentum, int nesterov) {
    if (!v) {
        EACH for (long i = 0; i < n; i++) w[i] -= scale * g[i] + decay * w[i];
    } else if (!nesterov) {
        EACH for (long i = 0; i < n; i++) {
            v[i] = momentum * v[i] + (scale * g[i] + decay * w[i]);
            w[i] -= v[i];
        }
    } else {
        EACH for (long i = 0; i < n; i++) {
            const float step = scale * g[i] + decay * w[i];
            v[i] = momentum * v[i] + step;
            w[i] -= step + momentum * v[i];
        }
    }
}

static void sgd_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    float own[CHUNK];
    for (long at = begin; at < end;) {
        int decays;
        const long n = MIN(CHUNK, next_change(&a[3], at, end, &decays) - at);
        const float *g = sum_chunk(a, at, n, own);
        float *v = a[2].size ? a[2].f + at : 0;
        sgd_chunk(g, a[1].f + at, v, n, (float)a[4].x, decays ? (float)a[5].x : 0, (float)a[6].x, (int)a[7].i);
        at += n;
    }
}

KERNEL(sgd_update) { // sources, w, v (empty without momentum), decayed, scale, decay, momentum, nesterov
    COVER(a[0].size > 0 && (!a[2].size || a[2].size == a[1].size));
    parallel(sgd_part, a, a[1].size, 0.25 * (a[0].size + 4));
    return 1;
}

static void adagrad_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    const float scale = (float)a[4].x, rate = (float)a[6].x, eps = (float)a[7].x;
    float own[CHUNK];
    for (long at = begin; at < end;) {
        int decays;
        const long n = MIN(CHUNK, next_change(&a[3], at, end, &decays) - at);
        const float *grad = sum_chunk(a, at, n, own);
        const float l2 = decays ? (float)a[5].x : 0;
        float *w = a[1].f + at, *s = a[2].f + at;
        EACH for (long i = 0; i < n; i++) {
            const float g = scale * grad[i] + l2 * w[i];
            s[i] += g * g;
            w[i] -= rate * (g / (__builtin_sqrtf(s[i]) + eps));
        }
        at += n;
    }
}

KERNEL(adagrad_update) { // sources, w, s, decayed, scale, l2 (added to the gradient), rate, eps
    COVER(a[0].size > 0 && a[2].size == a[1].size);
    parallel(adagrad_part, a, a[1].size, 0.25 * (a[0].size + 6));
    return 1;
}

static void adam_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    const float scale = (float)a[5].x, beta1 = (float)a[8].x, beta2 = (float)a[9].x;
    const float rest1 = (float)(1 - a[8].x), rest2 = (float)(1 - a[9].x), rate = (float)a[10].x, eps = (float)a[11].x;
    float own[CHUNK];
    for (long at = begin; at < end;) {
        int decays;
        const long n = MIN(CHUNK, next_change(&a[4], at, end, &decays) - at);
        const float *grad = sum_chunk(a, at, n, own);
        const float l2 = decays ? (float)a[6].x : 0, keep = decays ? (float)(1 - a[7].x) : 1;
        float *w = a[1].f + at, *m = a[2].f + at, *v = a[3].f + at;
        EACH for (long i = 0; i < n; i++) {
            const float g = scale * grad[i] + l2 * w[i];
            m[i] = beta1 * m[i] + rest1 * g;
            v[i] = beta2 * v[i] + rest2 * (g * g);
            w[i] = keep * w[i] - rate * (m[i] / (__builtin_sqrtf(v[i]) + eps));
        }
        at += n;
    }
}

// sources, w, m, v, decayed, scale, l2 (added to the gradient), shrink (of the weight itself), beta1, beta2,
// rate and eps with the corrections of both moments folded in
KERNEL(adam_update) {
    COVER(a[0].size > 0 && a[2].size == a[1].size && a[3].size == a[1].size);
    parallel(adam_part, a, a[1].size, 0.25 * (a[0].size + 8));
    return 1;
}

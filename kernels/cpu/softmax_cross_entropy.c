// Softmax and cross-entropy in one, row by row. Shapes: logits, exponentials (M, K); targets (M,) int64 in [0, K);
// sums (M, 1); losses (M,). Memory-bound. Formula and oracle: ops/softmax_cross_entropy.py.
#include <math.h>

static void softmax_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    const long K = a[0].dim[1];
    const float smoothing = (float)a[2].x;
    for (long m = begin; m < end; m++) {
        const float *row = a[0].f + m * K;
        float *e = a[3].f + m * K, most = row[0];
        for (long k = 1; k < K; k++) most = row[k] > most ? row[k] : most;
        vec sum_of_e = {}, sum_of_s = {};
        for (long k = 0; k < K; k += WIDTH) {
            const ivec inside = first_lanes(K - k);
            const vec s = choose(inside, load_some(row + k, K - k) - most, (vec){});
            const vec exponential = choose(inside, exp_of(s), (vec){});
            store_some(e + k, exponential, K - k);
            sum_of_e += exponential, sum_of_s += s;
        }
        const float total = a[4].f[m] = sum(sum_of_e);
        float expected = (1 - smoothing) * (row[a[1].l[m]] - most);
        if (smoothing) expected += smoothing * sum(sum_of_s) / K;
        a[5].f[m] = logf(total) - expected;
    }
}

KERNEL(softmax_cross_entropy) { // logits, targets, smoothing, exponentials, sums, losses
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[3].size == a[0].size);
    const long M = a[0].dim[0];
    COVER(a[1].size == M && a[4].size == M && a[5].size == M);
    for (long m = 0; m < M; m++) COVER(a[1].l[m] >= 0 && a[1].l[m] < a[0].dim[1]);
    parallel(softmax_part, a, M, 2.0 * a[0].dim[1] + 20);
    return 1;
}

static void softmax_dx_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    const long K = a[0].dim[1];
    const float smoothing = (float)a[3].x;
    for (long m = begin; m < end; m++) {
        float *e = a[0].f + m * K;
        const float scale = 1 / a[1].f[m], less = smoothing / K;
        if (a[4].b && !a[4].b[m]) {
            clear(e, K);
            continue;
        }
        EACH for (long k = 0; k < K; k++) e[k] = e[k] * scale - less;
        e[a[2].l[m]] -= 1 - smoothing;
    }
}

KERNEL(softmax_cross_entropy_dx) { // exponentials, sums, targets, smoothing, counted or None
    COVER(a[0].ndim == 2 && a[0].dim[1]);
    const long M = a[0].dim[0];
    COVER(a[1].size == M && a[2].size == M && (!a[4].b || a[4].size == M));
    for (long m = 0; m < M; m++) COVER(a[2].l[m] >= 0 && a[2].l[m] < a[0].dim[1]);
    parallel(softmax_dx_part, a, M, .5 * a[0].dim[1] + 10);
    return 1;
}

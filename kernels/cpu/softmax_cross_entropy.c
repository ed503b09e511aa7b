// Softmax and cross-entropy in one, row by row. Shapes: logits, e (M, K); targets (M,) int64 in [0, K);
// row_sums (M, 1); losses (M,). Memory-bound. Formula and oracle: ops/softmax_cross_entropy.py.
#include <math.h>

// The loss of one row; exp(s) goes to e, which may be the row, its sum to *total
static float loss_of(const float *row, long K, long target, float most, float smoothing, float *e, float *total) {
    vec sum_of_e = {}, sum_of_s = {};
    const float s_target = row[target] - most; // before e, which may be the row, is written
    for (long k = 0; k < K; k += WIDTH) {
        const ivec inside = first_lanes(K - k);
        const vec s = choose(inside, load_some(row + k, K - k) - most, (vec){});
        const vec exponential = choose(inside, exp_of(s), (vec){});
        store_some(e + k, exponential, K - k);
        sum_of_e += exponential, sum_of_s += s;
    }
    *total = sum(sum_of_e);
    float expected = (1 - smoothing) * s_target;
    if (smoothing) expected += smoothing * sum(sum_of_s) / K;
    return logf(*total) - expected;
}

static void softmax_part(const void *context, long begin, long end, int thread) {
    const Arg *a = context;
    const long K = a[0].dim[1];
    for (long m = begin; m < end; m++) {
        const float *row = a[0].f + m * K;
        a[5].f[m] = loss_of(row, K, a[1].l[m], largest(row, K), (float)a[2].x, a[3].f + m * K, a[4].f + m);
    }
}

static int targets_fit(const Arg *targets, long K) {
    for (long m = 0; m < targets->size; m++)
        if (targets->l[m] < 0 || targets->l[m] >= K) return 0;
    return 1;
}

KERNEL(softmax_cross_entropy) { // logits, targets, smoothing, e, row_sums, losses
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[3].size == a[0].size);
    const long M = a[0].dim[0];
    COVER(a[1].size == M && a[4].size == M && a[5].size == M && targets_fit(&a[1], a[0].dim[1]));
    parallel(softmax_part, a, M, 2.0 * a[0].dim[1] + 20);
    return 1;
}

typedef struct {
    const Arg *a;
    float *losses, *right;
} CrossEntropy;

// Whether ``target`` is the first of the largest numbers of a row (the first NaN, where there is one)
static int is_first(const float *row, long K, long target, float most, float loss) {
    if (loss != loss)
        for (long k = 0; k < K; k++)
            if (row[k] != row[k]) return k == target;
    for (long k = 0; k < target; k++)
        if (row[k] == most) return 0;
    return row[target] == most;
}

static void cross_entropy_part(const void *context, long begin, long end, int thread) {
    const CrossEntropy *c = context;
    const Arg *a = c->a;
    const long K = a[0].dim[1];
    for (long m = begin; m < end; m++) {
        const float *row = a[0].f + m * K, most = largest(row, K);
        const long target = a[1].l[m];
        c->losses[m] = loss_of(row, K, target, most, (float)a[2].x, a[4].f + m * K, a[5].f + m);
        c->right[m] = (float)is_first(row, K, target, most, c->losses[m]);
    }
}

KERNEL(cross_entropy) { // logits, targets, smoothing, ignore_index (no target is), e, sums, totals
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[4].size == a[0].size);
    const long M = a[0].dim[0], ignore_index = a[3].i;
    COVER(a[1].size == M && a[5].size >= M && a[6].size == 3 && targets_fit(&a[1], a[0].dim[1]));
    for (long m = 0; m < M; m++) COVER(a[1].l[m] != ignore_index);
    CrossEntropy c = {.a = a, .losses = scratch(0, 0, 8 * M + 8)};
    COVER(c.losses);
    c.right = c.losses + M;
    parallel(cross_entropy_part, &c, M, 2.0 * a[0].dim[1] + 25);
    double loss = 0, right = 0;
    for (long m = 0; m < M; m++) loss += c.losses[m], right += c.right[m];
    a[6].d[0] = (double)M, a[6].d[1] = loss, a[6].d[2] = right;
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

KERNEL(softmax_cross_entropy_dx) { // e, row_sums, targets, smoothing, counted or None
    COVER(a[0].ndim == 2 && a[0].dim[1]);
    const long M = a[0].dim[0];
    COVER(a[1].size == M && a[2].size == M && (!a[4].b || a[4].size == M) && targets_fit(&a[2], a[0].dim[1]));
    parallel(softmax_dx_part, a, M, .5 * a[0].dim[1] + 10);
    return 1;
}

// Whether the target is the first of the largest logits of a row
static int leads(const float *row, long target, float most) {
    if (row[target] != most) return 0;
    for (long k = 0; k < target; k++)
        if (row[k] == most) return 0;
    return 1;
}

// Whether the target is the first NaN of a row of exponentials
static int is_first_nan(const float *e, long K, long target) {
    for (long k = 0; k < K; k++)
        if (e[k] != e[k]) return k == target;
    return 0;
}

static void gradient_part(const void *context, long begin, long end, int thread) {
    const CrossEntropy *c = context;
    const Arg *a = c->a;
    const long K = a[0].dim[1], ignore_index = a[3].i;
    const float smoothing = (float)a[2].x;
    for (long m = begin; m < end; m++) {
        float *row = a[0].f + m * K, total;
        const long target = a[1].l[m];
        c->losses[m] = c->right[m] = 0;
        if (target == ignore_index) {
            clear(row, K);
            continue;
        }
        const float most = largest(row, K), weight = a[4].f ? a[4].f[target] : 1;
        const int first = leads(row, target, most);
        const float loss = loss_of(row, K, target, most, smoothing, row, &total);
        c->right[m] = (float)(loss != loss ? is_first_nan(row, K, target) : first);
        c->losses[m] = loss * weight;
        const float scale = weight / total, less = weight * smoothing / K;
        EACH for (long k = 0; k < K; k++) row[k] = row[k] * scale - less;
        row[target] -= weight * (1 - smoothing);
    }
}

KERNEL(cross_entropy_gradient) { // logits, targets, smoothing, ignore_index, class_weights or None, totals
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[5].size == 3);
    const long M = a[0].dim[0], K = a[0].dim[1], ignore_index = a[3].i;
    COVER(a[1].size == M && (!a[4].f || a[4].size == K));
    for (long m = 0; m < M; m++) COVER(a[1].l[m] == ignore_index || (a[1].l[m] >= 0 && a[1].l[m] < K));
    CrossEntropy c = {.a = a, .losses = scratch(0, 0, 8 * M + 8)};
    COVER(c.losses);
    c.right = c.losses + M;
    parallel(gradient_part, &c, M, 2.5 * K + 25);
    double loss = 0, right = 0, counted = 0;
    for (long m = 0; m < M; m++) counted += a[1].l[m] != ignore_index, loss += c.losses[m], right += c.right[m];
    a[5].d[0] = counted, a[5].d[1] = loss, a[5].d[2] = right;
    return 1;
}

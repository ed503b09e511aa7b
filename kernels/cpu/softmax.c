// Softmax of rows: y = exp(x - max) / sum, dx = y (dy - sum of y dy).
// Shapes: all (M, K). Bound by arithmetic (an exponential each). Oracle: ops/softmax.py.

// the largest of n > 0 numbers; those that are NaN do not count
static float largest(const float *row, long n) {
    vec most = splat(row[0]);
    long k = 0;
    for (; k + WIDTH <= n; k += WIDTH) most = choose(LOAD(row + k) > most, LOAD(row + k), most);
    float found = most[0];
    for (int i = 1; i < WIDTH; i++) found = most[i] > found ? most[i] : found;
    for (; k < n; k++) found = row[k] > found ? row[k] : found;
    return found;
}

// e = exp(scale (x - most)) of n numbers, which may be x itself; return their sum
static float exponentials(const float *x, long n, float most, float scale, float *e) {
    vec total = {};
    long k = 0;
    for (; k + WIDTH <= n; k += WIDTH) {
        const vec power = exp_of((LOAD(x + k) - most) * scale);
        STORE(e + k, power);
        total += power;
    }
    if (k < n) {
        const vec power = exp_of((load_some(x + k, n - k) - most) * scale);
        store_some(e + k, power, n - k);
        total += choose(first_lanes(n - k), power, (vec){});
    }
    return sum(total);
}

INLINE float dot(const float *x, const float *y, long n) {
    vec total = {};
    for (long k = 0; k < n; k += WIDTH) total += load_some(x + k, n - k) * load_some(y + k, n - k);
    return sum(total);
}

static void softmax_rows(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long K = a[0].dim[1];
    for (long m = begin; m < end; m++) {
        const float *x = a[0].f + m * K;
        float *y = a[1].f + m * K;
        const float scale = 1 / exponentials(x, K, largest(x, K), 1, y);
        EACH for (long k = 0; k < K; k++) y[k] *= scale;
    }
}

KERNEL(softmax) { // x, y
    COVER(a[0].ndim == 2 && a[0].dim[1] && a[0].size == a[1].size);
    parallel(softmax_rows, a, a[0].dim[0], 1.5 * a[0].dim[1] + 20);
    return 1;
}

static void softmax_dx_rows(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long K = a[0].dim[1];
    for (long m = begin; m < end; m++) {
        const float *y = a[0].f + m * K, *dy = a[1].f + m * K, mean = dot(y, dy, K);
        float *dx = a[2].f + m * K;
        EACH for (long k = 0; k < K; k++) dx[k] = y[k] * (dy[k] - mean);
    }
}

KERNEL(softmax_dx) { // y, dy, dx, which may be dy
    COVER(a[0].ndim == 2 && a[0].size == a[1].size && a[0].size == a[2].size);
    parallel(softmax_dx_rows, a, a[0].dim[0], .5 * a[0].dim[1] + 10);
    return 1;
}

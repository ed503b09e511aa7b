// The product of two thin factors, out[i][j] = the sum over k of left[i][k] right[k][j], or added to it. Each element is
// computed alone, in the order of k, so that its bits do not depend on threads. Oracle: ops/compress.py.

static void thin_product_rows(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long r = a[0].dim[1], m = a[2].dim[1];
    for (long i = begin; i < end; i++) {
        const float *const left = a[0].f + i * r;
        float *const out = a[2].f + i * m;
        long j = 0;
        for (; j + WIDTH <= m; j += WIDTH) {
            vec total = a[3].i ? LOAD(out + j) : (vec){};
            for (long k = 0; k < r; k++) total += left[k] * LOAD(a[1].f + k * m + j);
            STORE(out + j, total);
        }
        for (; j < m; j++) {
            float total = a[3].i ? out[j] : 0;
            for (long k = 0; k < r; k++) total += left[k] * a[1].f[k * m + j];
            out[j] = total;
        }
    }
}

KERNEL(thin_product) { // left, right, out, add
    COVER(a[0].ndim == 2 && a[1].ndim == 2 && a[2].ndim == 2 && a[0].dim[0] == a[2].dim[0] &&
          a[0].dim[1] == a[1].dim[0] && a[1].dim[1] == a[2].dim[1]);
    parallel(thin_product_rows, a, a[2].dim[0], 0.2 * a[2].dim[1] * (1 + a[0].dim[1] / 2));
    return 1;
}

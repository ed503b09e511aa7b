// Rotary position embedding, in place: pairs (a, b) of a head's halves become (a cos - b sin, b cos + a sin), or are turned
// back. Shapes: x (N, H, T, D), rows contiguous, any distance apart; table (P, D): cosines, then sines. Memory-bound.
// Formula and oracle: ops/rotary.py.

typedef struct {
    float *x;
    const float *table;
    const int64_t *positions; // (N, T) or 0: offset + t
    long T, H, D, offset, n, h, t; // n, h, t: floats from sample to sample, head to head, token to token
    float sign;
} Rotary;

static void rotary_part(const void *context, long begin, long end, int piece) {
    const Rotary *q = context;
    const long half = q->D / 2;
    for (long token = begin; token < end; token++) {
        const long position = q->positions ? q->positions[token] : q->offset + token % q->T;
        const float *cos = q->table + position * q->D, *sin = cos + half;
        float *a = q->x + token / q->T * q->n + token % q->T * q->t;
        for (long h = 0; h < q->H; h++, a += q->h)
            for (long i = 0; i < half; i += WIDTH) {
                float *b = a + half;
                const vec first = load_some(a + i, half - i), second = load_some(b + i, half - i);
                const vec c = load_some(cos + i, half - i), s = load_some(sin + i, half - i) * q->sign;
                store_some(a + i, first * c - second * s, half - i);
                store_some(b + i, second * c + first * s, half - i);
            }
    }
}

KERNEL(rotary) { // x, table, positions, offset, back
    COVER(a[0].ndim == 4 && a[1].ndim == 2 && a[0].dim[3] % 2 == 0 && a[1].dim[1] == a[0].dim[3]);
    COVER(a[0].dim[3] && a[0].stride[3] == 4);
    for (int d = 0; d < 3; d++) COVER(a[0].stride[d] % 4 == 0);
    const long N = a[0].dim[0], H = a[0].dim[1], T = a[0].dim[2], P = a[1].dim[0], D = a[0].dim[3];
    COVER(!a[2].l || a[2].size == N * T);
    for (long i = 0; i < a[2].size; i++) COVER(a[2].l[i] >= 0 && a[2].l[i] < P);
    COVER(a[2].l || (a[3].i >= 0 && a[3].i + T <= P));
    const Rotary q = {
        .x = a[0].f, .table = a[1].f, .positions = a[2].l, .T = T, .H = H, .D = D, .offset = a[3].i,
        .n = a[0].stride[0] / 4, .h = a[0].stride[1] / 4, .t = a[0].stride[2] / 4, .sign = a[4].i ? -1 : 1,
    };
    parallel(rotary_part, &q, N * T, .3 * H * D + 10);
    return 1;
}

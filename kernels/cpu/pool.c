// Max pooling: the largest value under each window and which tap it was, the first of equal ones.
// Shapes: padded (N, H, W, C), y and argmax (N, OH, OW, C). Memory-bound. Oracle: ops/pool.py.
// Lines are worked on in scratch memory with room behind them, so that pixels of few channels are whole vectors too:
// the next pixel overwrites the part of a vector beyond its pixel.
// With a ReLU 0 takes part and has no tap: where it is not beaten, the argmax is KH KW, and no pixel gets dy.

typedef struct {
    const float *x, *dy;
    float *y, *dx;
    uint8_t *argmax;
    long N, H, W, C, OH, OW, KH, KW, sh, sw;
    int relu;
} Pool;

typedef uint8_t bytes __attribute__((vector_size(WIDTH), aligned(1), may_alias));

INLINE void max_pool_line(const Pool *p, const long KH, const long KW, const float *x, float *best_line,
                          uint8_t *argmax_line) {
    const long line = p->W * p->C;
    for (long j = 0; j < p->OW; j++)
        for (long c = 0; c < p->C; c += WIDTH) {
            const float *pixel = x + j * p->sw * p->C + c;
            vec best = p->relu ? (vec){} : LOAD(pixel);
            ivec argmax = (ivec){} + (p->relu ? (int)(KH * KW) : 0);
            for (long h = 0; h < KH; h++)
                for (long w = 0; w < KW; w++) {
                    const vec value = LOAD(pixel + h * line + w * p->C);
                    const ivec larger = (value > best) | (value != value);
                    best = choose(larger, value, best);
                    argmax = (argmax & ~larger) | (larger & (int)(h * KW + w));
                }
            STORE(best_line + j * p->C + c, best);
            *(bytes *)(argmax_line + j * p->C + c) = __builtin_convertvector(argmax, bytes);
        }
}

static void max_pool_part(const void *context, long begin, long end, int thread) {
    const Pool *p = context;
    const long line = p->W * p->C, out = p->OW * p->C;
    float *lines = scratch(thread, 0, 4 * (p->KH * line + WIDTH)), *best = scratch(thread, 1, 5 * (out + WIDTH));
    uint8_t *argmax = (uint8_t *)(best + out + WIDTH);
    for (long r = begin; r < end; r++) {
        const float *x = p->x + (r / p->OH * p->H + r % p->OH * p->sh) * line;
        if (r == p->N * p->OH - 1) { // vectors may reach beyond the end of x
            memcpy(lines, x, 4 * p->KH * line);
            x = lines;
        }
        if (p->KH == 2 && p->KW == 2) // the usual case, unrolled
            max_pool_line(p, 2, 2, x, best, argmax);
        else
            max_pool_line(p, p->KH, p->KW, x, best, argmax);
        memcpy(p->y + r * out, best, 4 * out);
        memcpy(p->argmax + r * out, argmax, out);
    }
}

static Pool pool_of(const Arg *x, const Arg *y, const Arg *window) {
    return (Pool){
        .N = x->dim[0], .H = x->dim[1], .W = x->dim[2], .C = x->dim[3], .OH = y->dim[1], .OW = y->dim[2],
        .KH = window[0].i, .KW = window[1].i, .sh = window[2].i, .sw = window[3].i,
    };
}

static int pool_fits(const Arg *x, const Arg *y, const Arg *argmax, const Arg *window) {
    if (x->ndim != 4 || y->ndim != 4 || argmax->size != y->size || x->dim[0] != y->dim[0] || x->dim[3] != y->dim[3])
        return 0;
    const Pool p = pool_of(x, y, window);
    return p.KH * p.KW <= 255 && (p.OH - 1) * p.sh + p.KH <= p.H && (p.OW - 1) * p.sw + p.KW <= p.W;
}

KERNEL(max_pool_argmax) { // padded, y, argmax, KH, KW, sh, sw, relu
    COVER(pool_fits(&a[0], &a[1], &a[2], &a[3]));
    Pool p = pool_of(&a[0], &a[1], &a[3]);
    p.x = a[0].f, p.y = a[1].f, p.argmax = a[2].b, p.relu = a[7].i;
    parallel(max_pool_part, &p, p.N * p.OH, .5 * p.OW * p.C);
    return 1;
}

INLINE void max_pool_dx_line(const Pool *p, const long KH, const long KW, const uint8_t *argmax, const float *dy,
                             float *dx, long room) {
    const long C = p->C;
    for (long j = 0; j < p->OW; j++)
        for (long w = 0; w < KW; w++)
            for (long c = 0; c < C; c += WIDTH) {
                const ivec tap = __builtin_convertvector(*(const bytes *)(argmax + j * C + c), ivec);
                const vec slope = LOAD(dy + j * C + c);
                for (long h = 0; h < KH; h++)
                    STORE(dx + h * room + (j * p->sw + w) * C + c, choose(tap == (int)(h * KW + w), slope, (vec){}));
            }
}

static void max_pool_dx_part(const void *context, long begin, long end, int thread) {
    const Pool *p = context;
    const long C = p->C, line = p->W * C, out = p->OW * C, room = line + WIDTH, seen = ((p->OW - 1) * p->sw + p->KW) * C;
    float *dx = scratch(thread, 0, 4 * p->KH * room), *dy = scratch(thread, 1, 5 * (out + WIDTH));
    uint8_t *argmax = (uint8_t *)(dy + out + WIDTH);
    for (long r = begin; r < end; r++) {
        float *to = p->dx + (r / p->OH * p->H + r % p->OH * p->sh) * line;
        memcpy(dy, p->dy + r * out, 4 * out);
        memcpy(argmax, p->argmax + r * out, out);
        if (p->KH == 2 && p->KW == 2)
            max_pool_dx_line(p, 2, 2, argmax, dy, dx, room);
        else
            max_pool_dx_line(p, p->KH, p->KW, argmax, dy, dx, room);
        // pixels that no window sees: between windows, and behind the last
        for (long h = 0; h < p->KH; h++, to += line) {
            for (long j = 1; p->sw > p->KW && j < p->OW; j++)
                clear(dx + h * room + (j * p->sw - p->sw + p->KW) * C, (p->sw - p->KW) * C);
            clear(dx + h * room + seen, line - seen);
            memcpy(to, dx + h * room, 4 * line);
        }
    }
}

KERNEL(max_pool_dx) { // argmax, dy, dx, KH, KW, sh, sw
    COVER(pool_fits(&a[2], &a[1], &a[0], &a[3]));
    Pool p = pool_of(&a[2], &a[1], &a[3]);
    COVER(p.sh >= p.KH && p.sw >= p.KW); // no pixel under two windows
    p.argmax = a[0].b, p.dy = a[1].f, p.dx = a[2].f;
    if (p.OH * p.KH != p.H) memset(p.dx, 0, 4 * a[2].size);
    parallel(max_pool_dx_part, &p, p.N * p.OH, .7 * p.KH * p.W * p.C);
    return 1;
}

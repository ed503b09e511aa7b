// Masks of dropout by counter: Philox 4x64-10 (Salmon et al. 2011), the bits of numpy.random.Philox. 16 elements have the
// 16 bits each of a tick of the counter; p = threshold / 65536 of them are dropped. Bound by arithmetic: about two cycles
// an element. Shapes: mask (N, D); row i begins at tick (first + i) ceil(D / 16). Oracle: ops/dropout.py.

#define TICK 16

typedef struct {
    int64_t threshold, seed, layer, step, first; // threshold 0: nothing is dropped
} Masks;

static Masks masks_of(const Arg *how) {
    return (Masks){how[0].i, how[1].i, how[2].i, how[3].i, how[4].i};
}

// What the elements of tick number ``tick`` are multiplied by: 0 or 1 / (1 - p)
INLINE void factors_of_tick(const Masks *masks, uint64_t tick, float *factors) {
    uint64_t a = tick + 1, b = 0, c = masks->step, d = masks->layer, key = masks->seed, key2 = 0; // it counts, then draws
    for (int round = 0; round < 10; round++) {
        const unsigned __int128 p = (unsigned __int128)a * 0xD2E7470EE14C6C93, q = (unsigned __int128)c * 0xCA5A826395121157;
        a = (uint64_t)(q >> 64) ^ b ^ key, b = (uint64_t)q;
        c = (uint64_t)(p >> 64) ^ d ^ key2, d = (uint64_t)p;
        key += 0x9E3779B97F4A7C15, key2 += 0xBB67AE8584CAA73B;
    }
    const uint64_t words[4] = {a, b, c, d};
    const float scale = 65536.f / (65536 - masks->threshold);
    for (int i = 0; i < TICK; i++) factors[i] = (int)(words[i / 4] >> i % 4 * 16 & 0xFFFF) >= masks->threshold ? scale : 0;
}

// The factors of the columns from ``begin`` up to ``end``, counted from column ``origin``, which begins a tick, of row
// number ``row``, of D columns; more are written, from the tick of begin to that of the last
static void factors_of(const Masks *masks, long row, long D, long origin, long begin, long end, float *factors) {
    const uint64_t ticks = (D + TICK - 1) / TICK, first = row * ticks + origin / TICK;
    for (long i = begin / TICK; i * TICK < end; i++) factors_of_tick(masks, first + i, factors + i * TICK);
}

typedef struct {
    float *mask;
    long D;
    Masks masks;
} DropoutMask;

static void dropout_mask_part(const void *context, long begin, long end, int piece) {
    const DropoutMask *q = context;
    const long whole = q->D / TICK * TICK;
    for (long m = begin; m < end; m++) {
        float *row = q->mask + m * q->D, last[TICK];
        factors_of(&q->masks, q->masks.first + m, q->D, 0, 0, whole, row);
        if (whole == q->D) continue;
        const uint64_t ticks = whole / TICK + 1;
        factors_of_tick(&q->masks, (q->masks.first + m) * ticks + ticks - 1, last);
        memcpy(row + whole, last, 4 * (q->D - whole));
    }
}

KERNEL(dropout_mask) { // mask, threshold, seed, layer, step, first
    COVER(a[0].ndim == 2);
    const DropoutMask q = {a[0].f, a[0].dim[1], masks_of(&a[1])};
    parallel(dropout_mask_part, &q, a[0].dim[0], .7 * q.D + 10);
    return 1;
}

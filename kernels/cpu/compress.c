// Gradients as short messages: bf16; fp16, int8 and signs with a scale for each block. Encoding adds the error of the step
// before and keeps the new one, decoding adds to what is there, each in one pass. Memory-bound.
//
// A block in a message is its scale (float32) and then its payload. A block with a NaN or an infinity has a scale that is
// not finite: what is decoded shows it. The kept error is always finite. Oracle: ops/compress.py.

#define SIGNS 256 // elements of a block of signs or fp16
#define ROUNDS 12582912.f // 1.5 2^23: adding it rounds to an integer, whose last bits are those of the sum
#define LEAST_SCALED 1e-30f // blocks of smaller numbers are sent as zeros

INLINE uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

INLINE float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

typedef struct {
    float inject, keep, inverse;
} Feedback;

INLINE Feedback feedback_of(const Arg *numbers) {
    return (Feedback){(float)numbers[0].x, (float)numbers[1].x, (float)numbers[2].x};
}

// Each loop is compiled for each way to treat errors. Both passes over a block compute u = x + inject e anew, which is
// cheaper than a buffer.
enum { NO_ERRORS, REPLACED, MIXED }; // the last adds keep e to the new error
#define WAY(e, f) ((e) ? (f).keep == 0 ? REPLACED : MIXED : NO_ERRORS)
#define BY_WAY(way, function, ...)                \
    do {                                          \
        if ((way) == NO_ERRORS)                   \
            function(NO_ERRORS, __VA_ARGS__);     \
        else if ((way) == REPLACED)               \
            function(REPLACED, __VA_ARGS__);      \
        else                                      \
            function(MIXED, __VA_ARGS__);         \
    } while (0)

#define CORRECTED(way, x, e, f) ((way) ? (x) + (f).inject * (e) : (x))
#define KEPT(way, e, rest, f) ((way) == MIXED ? (f).keep * (e) + (f).inverse * (rest) : (f).inverse * (rest))

// What was not sent; 0 in blocks with a NaN or an infinity
INLINE float finite_rest(float u, float sent) {
    const float rest = u - sent;
    return rest * 0 == 0 ? rest : 0;
}

// The bits of the largest |u| of n elements: those of a NaN are above those of an infinity
INLINE void largest_bits(const int way, const float *x, const float *e, long n, Feedback f, uint32_t *most) {
    int32_t largest = 0; // signed ones are compared by every processor
    EACH for (long i = 0; i < n; i++) {
        const int32_t bits = bits_of(CORRECTED(way, x[i], e[i], f)) & 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    *most = largest;
}

// Errors of a block that was sent as zeros: its scale is 0, or not finite where the block is not
INLINE void keep_block(const int way, const float *x, float *e, long n, float scale, Feedback f) {
    EACH for (long i = 0; way && i < n; i++) {
        const float u = CORRECTED(way, x[i], e[i], f);
        e[i] = KEPT(way, e[i], finite_rest(u, scale), f);
    }
}

#define FINITE(bits) ((bits) < 0x7f800000)

// bf16 ---------------------------------------------------------------------------------------------------------------

INLINE uint32_t to_bf16(float x) {
    const uint32_t bits = bits_of(x), is_nan = (bits & 0x7fffffff) > 0x7f800000;
    return is_nan ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

INLINE void round_bf16(const int way, const float *x, float *e, uint16_t *out, long n, Feedback f) {
    EACH for (long i = 0; i < n; i++) {
        const float u = CORRECTED(way, x[i], e[i], f);
        const uint32_t half = to_bf16(u);
        out[i] = half;
        if (way) e[i] = KEPT(way, e[i], finite_rest(u, float_of(half << 16)), f);
    }
}

static void encode_bf16_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const Feedback f = feedback_of(a + 3);
    float *const e = a[1].size ? a[1].f + begin : 0;
    BY_WAY(WAY(e, f), round_bf16, a[0].f + begin, e, (uint16_t *)a[2].b + begin, end - begin, f);
}

KERNEL(encode_bf16) { // x, error (or empty), message, inject, keep, inverse
    COVER((!a[1].size || a[1].size == a[0].size) && a[2].size >= 2 * a[0].size);
    parallel(encode_bf16_part, a, a[0].size, 0.4);
    return 1;
}

static void decode_bf16_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const uint16_t *in = (const uint16_t *)a[0].b;
    float *y = a[1].f;
    if (a[2].i) {
        EACH for (long i = begin; i < end; i++) y[i] += float_of((uint32_t)in[i] << 16);
    } else {
        EACH for (long i = begin; i < end; i++) y[i] = float_of((uint32_t)in[i] << 16);
    }
}

KERNEL(decode_bf16) { // message, y, add
    COVER(a[0].size >= 2 * a[1].size);
    parallel(decode_bf16_part, a, a[1].size, 0.3);
    return 1;
}

// blocks with a scale ------------------------------------------------------------------------------------------------

// Block ``number`` of ``size`` elements, with ``bytes`` of payload: its first element, its length, its place in a message
#define OPEN_BLOCK(number, size, bytes, total, message)                                                      \
    const long at = (number) * (size), n = MIN((size), (total) - at);                                        \
    uint8_t *const place = (message) + (number) * (4 + (bytes))

INLINE void round_int8(const int way, const float *x, float *e, uint8_t *out, long n, float scale, float factor,
                       Feedback f) {
    EACH for (long i = 0; i < n; i++) {
        const float u = CORRECTED(way, x[i], e[i], f), rounded = u * factor + ROUNDS;
        out[i] = bits_of(rounded);
        if (way) e[i] = KEPT(way, e[i], u - scale * (rounded - ROUNDS), f);
    }
}

static void encode_int8_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const Feedback f = feedback_of(a + 3);
    const long block = a[6].i;
    for (long k = begin; k < end; k++) {
        OPEN_BLOCK(k, block, block, a[0].size, a[2].b);
        const float *const x = a[0].f + at;
        float *const e = a[1].size ? a[1].f + at : 0;
        const int way = WAY(e, f);
        uint32_t most;
        BY_WAY(way, largest_bits, x, e, n, f, &most);
        const float largest = float_of(most);
        const int sends = FINITE(most) && largest >= LEAST_SCALED;
        const float scale = sends ? largest / 127 : FINITE(most) ? 0 : __builtin_nanf("");
        memcpy(place, &scale, 4);
        if (sends) {
            BY_WAY(way, round_int8, x, e, place + 4, n, scale, 127 / largest, f);
        } else {
            for (long i = 0; i < n; i++) place[4 + i] = 0;
            BY_WAY(way, keep_block, x, e, n, scale, f);
        }
    }
}

KERNEL(encode_int8) { // x, error (or empty), message, inject, keep, inverse, block
    const long block = a[6].i;
    COVER((!a[1].size || a[1].size == a[0].size) && block > 0);
    const long count = (a[0].size + block - 1) / block;
    COVER(a[2].size >= count * (4 + block));
    parallel(encode_int8_part, a, count, 0.5 * block);
    return 1;
}

static void decode_int8_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long block = a[3].i;
    for (long k = begin; k < end; k++) {
        OPEN_BLOCK(k, block, block, a[1].size, a[0].b);
        float *y = a[1].f + at, scale;
        memcpy(&scale, place, 4);
        const int8_t *const q = (const int8_t *)place + 4;
        if (a[2].i) {
            EACH for (long i = 0; i < n; i++) y[i] += scale * q[i];
        } else {
            EACH for (long i = 0; i < n; i++) y[i] = scale * q[i];
        }
    }
}

KERNEL(decode_int8) { // message, y, add, block
    const long block = a[3].i;
    COVER(block > 0 && a[0].size >= (a[1].size + block - 1) / block * (4 + block));
    parallel(decode_int8_part, a, (a[1].size + block - 1) / block, 0.3 * block);
    return 1;
}

// fp16 of numbers below 2^15 and back (Giesen 2012, "half to float done quick"), rounded to even
INLINE uint32_t to_fp16(float x) {
    const uint32_t bits = bits_of(x), sign = bits & 0x80000000, rest = bits ^ sign, shift = 126 << 23;
    const uint32_t small = bits_of(float_of(rest) + float_of(shift)) - shift;
    const uint32_t normal = (rest + ((15u - 127u) << 23) + 0xfff + (rest >> 13 & 1)) >> 13;
    return (rest < (113 << 23) ? small : normal) | sign >> 16;
}

INLINE float of_fp16(uint32_t half) {
    const float size = float_of((half & 0x7fff) << 13) * float_of(239u << 23);
    return float_of(bits_of(size) | (half & 0x8000) << 16);
}

#if WIDTH >= 8 && defined(__x86_64__) // the processor's own conversions, of the same bits
typedef int16_t halves __attribute__((vector_size(2 * WIDTH), aligned(2), may_alias));
#define CONVERTED(n) ((n) & -WIDTH)
#if WIDTH == 8
INLINE halves to_halves(vec u) { return (halves)__builtin_ia32_vcvtps2ph256(u, 0); }
INLINE vec of_halves(halves half) { return (vec)__builtin_ia32_vcvtph2ps256(half); }
#else
INLINE halves to_halves(vec u) { return (halves)__builtin_ia32_vcvtps2ph512_mask(u, 0, (halves){}, -1); }
INLINE vec of_halves(halves half) { return (vec)__builtin_ia32_vcvtph2ps512_mask(half, (vec){}, -1, 4); }
#endif
#else
typedef vec halves;
#define CONVERTED(n) 0
INLINE halves to_halves(vec u) { return u; }
INLINE vec of_halves(halves half) { return half; }
#endif

INLINE void round_fp16(const int way, const float *x, float *e, uint16_t *out, long n, float scale, float factor,
                       Feedback f) {
    long i = 0;
    for (; i < CONVERTED(n); i += WIDTH) {
        const vec error = way ? LOAD(e + i) : (vec){};
        const vec u = LOAD(x + i) + f.inject * error;
        const halves half = to_halves(u * factor);
        *(halves *)(out + i) = half;
        if (way) STORE(e + i, KEPT(way, error, u - scale * of_halves(half), f));
    }
    EACH for (; i < n; i++) {
        const float u = CORRECTED(way, x[i], e[i], f);
        const uint32_t half = to_fp16(u * factor);
        out[i] = half;
        if (way) e[i] = KEPT(way, e[i], u - scale * of_fp16(half), f);
    }
}

static void encode_fp16_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const Feedback f = feedback_of(a + 3);
    for (long k = begin; k < end; k++) {
        OPEN_BLOCK(k, SIGNS, 2 * SIGNS, a[0].size, a[2].b);
        const float *const x = a[0].f + at;
        float *const e = a[1].size ? a[1].f + at : 0;
        const int way = WAY(e, f);
        uint32_t most;
        BY_WAY(way, largest_bits, x, e, n, f, &most);
        const uint32_t exponent = most >> 23;
        const int sends = FINITE(most) && float_of(most) >= LEAST_SCALED;
        const float scale = sends ? float_of((exponent - 14) << 23) : FINITE(most) ? 0 : __builtin_nanf("");
        memcpy(place, &scale, 4);
        if (sends) {
            BY_WAY(way, round_fp16, x, e, (uint16_t *)(place + 4), n, scale, float_of((268 - exponent) << 23), f);
        } else {
            memset(place + 4, 0, 2 * n);
            BY_WAY(way, keep_block, x, e, n, scale, f);
        }
    }
}

KERNEL(encode_fp16) { // x, error (or empty), message, inject, keep, inverse
    const long count = (a[0].size + SIGNS - 1) / SIGNS;
    COVER((!a[1].size || a[1].size == a[0].size) && a[2].size >= count * (4 + 2 * SIGNS));
    parallel(encode_fp16_part, a, count, 0.6 * SIGNS);
    return 1;
}

static void decode_fp16_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    for (long k = begin; k < end; k++) {
        OPEN_BLOCK(k, SIGNS, 2 * SIGNS, a[1].size, a[0].b);
        float *y = a[1].f + at, scale;
        memcpy(&scale, place, 4);
        const uint16_t *const in = (const uint16_t *)(place + 4);
        if (a[2].i) {
            EACH for (long i = 0; i < n; i++) y[i] += scale * of_fp16(in[i]);
        } else {
            EACH for (long i = 0; i < n; i++) y[i] = scale * of_fp16(in[i]);
        }
    }
}

KERNEL(decode_fp16) { // message, y, add
    const long count = (a[1].size + SIGNS - 1) / SIGNS;
    COVER(a[0].size >= count * (4 + 2 * SIGNS));
    parallel(decode_fp16_part, a, count, 0.4 * SIGNS);
    return 1;
}

// Signs: bit j of word i is that of element 8 j + i, so that whole vectors are shifted
typedef uint32_t words8 __attribute__((vector_size(32), aligned(4), may_alias));
#define ROWS (SIGNS / 8)

// Sums of |u| by lanes, and the bits
INLINE void sum_signs(const int way, const float *x, const float *e, Feedback f, v8 *sums, words8 *words) {
    v8 total = {};
    words8 found = {};
    for (int j = 0; j < ROWS; j++) {
        v8 u = *(const v8 *)(x + 8 * j);
        if (way) u += f.inject * *(const v8 *)(e + 8 * j);
        const words8 bits = (words8)u;
        total += (v8)(bits & 0x7fffffff);
        found = found >> 1 | (bits & 0x80000000);
    }
    *sums = total;
    *words = found;
}

INLINE void keep_signs(const int way, const float *x, float *e, long n, float scale, Feedback f) {
    EACH for (long i = 0; way && i < n; i++) {
        const float u = CORRECTED(way, x[i], e[i], f);
        e[i] = KEPT(way, e[i], u - __builtin_copysignf(scale, u), f);
    }
}

static void encode_sign_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const Feedback f = feedback_of(a + 3);
    float last[2][SIGNS]; // x and e of a short block, then zeros
    for (long k = begin; k < end; k++) {
        OPEN_BLOCK(k, SIGNS, SIGNS / 8, a[0].size, a[2].b);
        const float *x = a[0].f + at;
        float *const e = a[1].size ? a[1].f + at : 0;
        const float *old = e;
        const int way = WAY(e, f);
        if (n < SIGNS) {
            memset(last, 0, sizeof last);
            memcpy(last[0], x, 4 * n);
            if (e) memcpy(last[1], e, 4 * n);
            x = last[0];
            old = last[1];
        }
        v8 sums;
        words8 words;
        BY_WAY(way, sum_signs, x, old, f, &sums, &words);
        const float scale = (((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))) / n;
        memcpy(place, &scale, 4);
        *(words8 *)(place + 4) = words;
        if (FINITE(bits_of(scale)))
            BY_WAY(way, keep_signs, x, e, n, scale, f);
        else
            BY_WAY(way, keep_block, x, e, n, scale, f);
    }
}

KERNEL(encode_sign) { // x, error (or empty), message, inject, keep, inverse
    const long count = (a[0].size + SIGNS - 1) / SIGNS;
    COVER((!a[1].size || a[1].size == a[0].size) && a[2].size >= count * (4 + SIGNS / 8));
    parallel(encode_sign_part, a, count, 0.5 * SIGNS);
    return 1;
}

static void decode_sign_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    float last[SIGNS];
    for (long k = begin; k < end; k++) {
        OPEN_BLOCK(k, SIGNS, SIGNS / 8, a[1].size, a[0].b);
        float *const y = a[1].f + at, *const out = n < SIGNS ? last : y;
        uint32_t scale;
        memcpy(&scale, place, 4);
        const words8 words = *(const words8 *)(place + 4);
        if (n < SIGNS) memcpy(last, y, 4 * n);
        for (int j = 0; j < ROWS; j++) {
            const v8 signs = (v8)((words >> j & 1) << 31 | scale);
            v8 *const target = (v8 *)(out + 8 * j);
            if (a[2].i)
                *target += signs;
            else
                *target = signs;
        }
        if (n < SIGNS) memcpy(y, last, 4 * n);
    }
}

KERNEL(decode_sign) { // message, y, add
    const long count = (a[1].size + SIGNS - 1) / SIGNS;
    COVER(a[0].size >= count * (4 + SIGNS / 8));
    parallel(decode_sign_part, a, count, 0.3 * SIGNS);
    return 1;
}

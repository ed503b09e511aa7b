// Gradients as short messages: bf16; fp16, int8 and signs with a scale for each block. Encoding adds the error of the step
// before and keeps the new one, decoding adds to what is there, each in one pass. Memory-bound.
//
// A block in a message is its scale (float32) and then its payload. A block with a NaN or an infinity has a scale that is
// not finite: what is decoded shows it. The kept error is always finite. Oracle: ops/compress.py.

#define SIGNS 256 // elements of a block of signs or fp16
#define LONGEST_BLOCK 4096
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

// The error after u was sent as ``sent``
INLINE float error_after(float e, float u, float sent, Feedback f) {
    const float rest = u - sent;
    return f.keep * e + f.inverse * (rest * 0 == 0 ? rest : 0);
}

// u = x + inject e, n elements
INLINE void add_error(const float *x, const float *e, float *u, long n, Feedback f) {
    if (e) {
        EACH for (long i = 0; i < n; i++) u[i] = x[i] + f.inject * e[i];
    } else {
        memcpy(u, x, 4 * n);
    }
}

// The bits of the largest |u|: those of a NaN are above those of an infinity
INLINE uint32_t largest_bits(const float *u, long n) {
    int32_t most = 0; // signed ones are compared by every processor
    for (long i = 0; i < n; i++) {
        const int32_t bits = bits_of(u[i]) & 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most;
}

#define FINITE(bits) ((bits) < 0x7f800000)

// bf16 ---------------------------------------------------------------------------------------------------------------

INLINE uint32_t to_bf16(float x) {
    const uint32_t bits = bits_of(x), is_nan = (bits & 0x7fffffff) > 0x7f800000;
    return is_nan ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static void encode_bf16_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const Feedback f = feedback_of(a + 3);
    const float *x = a[0].f;
    float *e = a[1].f;
    uint16_t *out = (uint16_t *)a[2].b;
    if (!a[1].size) {
        EACH for (long i = begin; i < end; i++) out[i] = to_bf16(x[i]);
        return;
    }
    EACH for (long i = begin; i < end; i++) {
        const float u = x[i] + f.inject * e[i];
        const uint32_t half = to_bf16(u);
        out[i] = half;
        e[i] = error_after(e[i], u, float_of(half << 16), f);
    }
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

static void encode_int8_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const Feedback f = feedback_of(a + 3);
    const long block = a[6].i;
    float u[LONGEST_BLOCK];
    for (long k = begin; k < end; k++) {
        OPEN_BLOCK(k, block, block, a[0].size, a[2].b);
        float *const e = a[1].size ? a[1].f + at : 0;
        add_error(a[0].f + at, e, u, n, f);
        const uint32_t most = largest_bits(u, n);
        const float largest = float_of(most);
        const int sends = FINITE(most) && largest >= LEAST_SCALED;
        const float scale = sends ? largest / 127 : FINITE(most) ? 0 : __builtin_nanf("");
        const float factor = sends ? 127 / largest : 0;
        memcpy(place, &scale, 4);
        uint8_t *const q = place + 4;
        if (e) {
            EACH for (long i = 0; i < n; i++) {
                const float rounded = u[i] * factor + ROUNDS;
                q[i] = bits_of(rounded);
                e[i] = error_after(e[i], u[i], scale * (rounded - ROUNDS), f);
            }
        } else {
            EACH for (long i = 0; i < n; i++) q[i] = bits_of(u[i] * factor + ROUNDS);
        }
    }
}

KERNEL(encode_int8) { // x, error (or empty), message, inject, keep, inverse, block
    const long block = a[6].i;
    COVER((!a[1].size || a[1].size == a[0].size) && block > 0 && block <= LONGEST_BLOCK);
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

static void encode_fp16_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const Feedback f = feedback_of(a + 3);
    float u[SIGNS];
    for (long k = begin; k < end; k++) {
        OPEN_BLOCK(k, SIGNS, 2 * SIGNS, a[0].size, a[2].b);
        float *const e = a[1].size ? a[1].f + at : 0;
        add_error(a[0].f + at, e, u, n, f);
        const uint32_t most = largest_bits(u, n), exponent = most >> 23;
        const int sends = FINITE(most) && float_of(most) >= LEAST_SCALED;
        const float scale = sends ? float_of((exponent - 14) << 23) : FINITE(most) ? 0 : __builtin_nanf("");
        const float factor = sends ? float_of((268 - exponent) << 23) : 0;
        memcpy(place, &scale, 4);
        uint16_t *const out = (uint16_t *)(place + 4);
        if (e) {
            EACH for (long i = 0; i < n; i++) {
                const uint32_t half = to_fp16(u[i] * factor);
                out[i] = half;
                e[i] = error_after(e[i], u[i], scale * of_fp16(half), f);
            }
        } else {
            EACH for (long i = 0; i < n; i++) out[i] = to_fp16(u[i] * factor);
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

static void encode_sign_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const Feedback f = feedback_of(a + 3);
    float u[SIGNS];
    for (long k = begin; k < end; k++) {
        OPEN_BLOCK(k, SIGNS, SIGNS / 8, a[0].size, a[2].b);
        float *const e = a[1].size ? a[1].f + at : 0;
        if (n < SIGNS) memset(u, 0, sizeof u);
        add_error(a[0].f + at, e, u, n, f);
        v8 sums = {};
        words8 words = {};
        for (int j = 0; j < ROWS; j++) {
            const words8 bits = *(const words8 *)(u + 8 * j);
            sums += (v8)(bits & 0x7fffffff);
            words |= bits >> 31 << j;
        }
        const float scale = (((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))) / n;
        memcpy(place, &scale, 4);
        *(words8 *)(place + 4) = words;
        if (!e) continue;
        EACH for (long i = 0; i < n; i++) e[i] = error_after(e[i], u[i], __builtin_copysignf(scale, u[i]), f);
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

// The product of two thin factors, out[i][j] = the sum over k of left[i][k] right[k][j], or added to it. Each element is
// computed alone, in the order of k, so that its bits do not depend on threads.
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

// The places of the k largest |u|, in ascending order; equal ones are taken from the front, NaN before all numbers. The
// bits of the k-th largest are found digit by digit from histograms, all but the first over the few numbers that share
// the digits before. One pass more writes the places.
#define DIGITS 3
#define BIN_BITS 11
#define SPREAD 4 // histograms in turn, since neighbors often fall into the same bin

// Add to ``bins`` the digit after ``shift`` of all |u| whose bits above ``high`` are those of ``prefix``
static void count_digits(const float *u, long n, int shift, int high, uint32_t prefix, long *bins) {
    static const int STRIDE = 64;
    uint32_t counts[SPREAD][1 << BIN_BITS] = {{0}};
    const uint32_t mask = (1u << (high - shift)) - 1;
    for (long at = 0; at < n; at += STRIDE) {
        const long stop = MIN(at + STRIDE, n);
        int32_t found = high == 31;
        if (!found)
            for (long i = at; i < stop; i++) found |= (bits_of(u[i]) & 0x7fffffff) >> high == prefix;
        if (!found) continue;
        for (long i = at; i < stop; i++) {
            const uint32_t bits = bits_of(u[i]) & 0x7fffffff;
            if (bits >> high == prefix) counts[i % SPREAD][bits >> shift & mask]++;
        }
    }
    for (long bin = 0; bin <= mask; bin++) {
        bins[bin] = 0;
        for (int k = 0; k < SPREAD; k++) bins[bin] += counts[k][bin];
    }
}

KERNEL(largest_places) { // u, places
    static const int shifts[DIGITS + 1] = {31, 20, 10, 0};
    const long n = a[0].size, k = a[1].size;
    COVER(k > 0 && k <= n && n < 1L << 31);
    const float *const u = a[0].f;
    long bins[1 << BIN_BITS], wanted = k; // of those with this prefix
    uint32_t prefix = 0;
    for (int digit = 0; digit < DIGITS; digit++) {
        const int shift = shifts[digit + 1], high = shifts[digit];
        count_digits(u, n, shift, high, prefix, bins);
        long bin = (1L << (high - shift)) - 1;
        for (; bins[bin] < wanted; bin--) wanted -= bins[bin];
        prefix = prefix << (high - shift) | (uint32_t)bin;
    }
    const int32_t least = prefix;
    int64_t *out = a[1].l;
    for (long at = 0; at < n; at += 64) {
        const long stop = MIN(at + 64, n);
        int32_t found = 0;
        for (long i = at; i < stop; i++) found |= (int32_t)(bits_of(u[i]) & 0x7fffffff) >= least;
        for (long i = at; found && i < stop; i++) {
            const int32_t bits = bits_of(u[i]) & 0x7fffffff;
            if (bits > least || (bits == least && wanted-- > 0)) *out++ = i;
        }
    }
    return 1;
}

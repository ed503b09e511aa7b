// The places of the k largest |u|, in ascending order; equal ones are taken from the front, NaN before all numbers. The
// bits of the k-th largest are found digit by digit from histograms, all but the first over the few numbers that share
// the digits before. One pass more writes the places. Where k is a small part of n, all this is done on the candidates
// only: numbers above a bound that a sample suggests. Oracle: ops/compress.py.

#define DIGITS 3
#define BIN_BITS 11
#define SPREAD 4 // histograms in turn, since neighbors often fall into the same bin
#define SAMPLE 8192
#define LINE 32 // numbers that are looked at together

#define SIZE_BITS(x) ((int32_t)(bits_of(x) & 0x7fffffff))

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

// Write the places of the k largest, which are 0 ... n - 1 or those in ``places``
static void select_largest(const float *u, const int32_t *places, long n, long k, int64_t *out) {
    static const int shifts[DIGITS + 1] = {31, 20, 10, 0};
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
    for (long at = 0; at < n; at += 64) {
        const long stop = MIN(at + 64, n);
        int32_t found = 0;
        for (long i = at; i < stop; i++) found |= SIZE_BITS(u[i]) >= least;
        for (long i = at; found && i < stop; i++) {
            const int32_t bits = SIZE_BITS(u[i]);
            if (bits > least || (bits == least && wanted-- > 0)) *out++ = places ? places[i] : i;
        }
    }
}

// The bits of a number that, if the sample is a fair one, somewhat more than k of n |u| reach
static int32_t suggest_bound(const float *u, long n, long k) {
    float sample[SAMPLE];
    for (long i = 0; i < SAMPLE; i++) sample[i] = u[i * (n / SAMPLE)];
    long bins[1 << BIN_BITS], wanted = k * SAMPLE / n;
    wanted += 16 + wanted / 4;
    count_digits(sample, SAMPLE, 20, 31, 0, bins);
    long bin = (1L << BIN_BITS) - 1;
    for (; bin > 0 && bins[bin] < wanted; bin--) wanted -= bins[bin];
    return bin << 20;
}

// Bit i: |u[i]| reaches the bound, 8 numbers
INLINE unsigned reaching(const float *u, int32_t bound) {
#if WIDTH >= 8 && defined(__x86_64__)
    typedef int32_t ints8 __attribute__((vector_size(32), aligned(4), may_alias));
    return __builtin_ia32_movmskps256((v8)((*(const ints8 *)u & 0x7fffffff) >= bound));
#else
    unsigned found = 0;
    for (int i = 0; i < 8; i++) found |= (unsigned)(SIZE_BITS(u[i]) >= bound) << i;
    return found;
#endif
}

// Copy the numbers that reach the bound, with their places; return how many there are, or -1 if more than ``room``
static long collect(const float *u, long n, int32_t bound, float *found, int32_t *places, long room) {
    long count = 0;
    for (long at = 0; at < n; at += LINE) {
        uint32_t bits = 0;
        if (at + LINE <= n) {
            for (int i = 0; i < LINE; i += 8) bits |= reaching(u + at + i, bound) << i;
        } else {
            for (long i = at; i < n; i++) bits |= (uint32_t)(SIZE_BITS(u[i]) >= bound) << (i - at);
        }
        if (count + LINE > room) return -1;
        for (; bits; bits &= bits - 1) {
            const long i = at + __builtin_ctz(bits);
            found[count] = u[i];
            places[count++] = i;
        }
    }
    return count;
}

KERNEL(largest_places) { // u, places
    const long n = a[0].size, k = a[1].size, room = 4 * k + 1024;
    COVER(k > 0 && k <= n && n < 1L << 31);
    if (n >= 4 * SAMPLE && k <= n / 16) {
        float *const found = scratch(0, 0, 8 * room);
        COVER(found);
        int32_t *const places = (int32_t *)(found + room);
        const long count = collect(a[0].f, n, suggest_bound(a[0].f, n, k), found, places, room);
        if (count >= k) {
            select_largest(found, places, count, k, a[1].l);
            return 1;
        }
    }
    select_largest(a[0].f, 0, n, k, a[1].l);
    return 1;
}

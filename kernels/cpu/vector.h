// Vectors of floats by GCC's and Clang's extension: + - * on whole vectors, the compiler picks the instructions.
//
// Each level (baseline, AVX2, AVX-512) compiles the kernels once, with its own WIDTH. Vectors may start anywhere in
// memory (aligned(4)), and a load is a dereference: LOAD(p).
#pragma once
#include <stdint.h>
#include <string.h>

typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#define vec JOIN(v, WIDTH)
typedef int32_t ivec __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias)); // comparisons: -1 where it holds

#define INLINE static inline __attribute__((always_inline))
// UNROLL: the loop has a fixed, small count. EACH: its iterations are independent, also where arrays are the same.
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define EACH _Pragma("clang loop vectorize(assume_safety)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#define EACH _Pragma("GCC ivdep")
#endif

#define LOAD(p) (*(const vec *)(p))
#define STORE(p, value) (*(vec *)(p) = (value))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

INLINE vec splat(float x) {
    return x - (vec){};
}

// max(x, 0); NaN stays NaN
INLINE float relu_of(float x) {
    return x < 0 ? 0 : x;
}

// n floats from one place to another, n below 16; not inlined, since ends of rows are many
static __attribute__((noinline, unused)) void move_some(float *to, const float *from, long n) {
    if (n & 8) memcpy(to, from, 32), to += 8, from += 8;
    if (n & 4) memcpy(to, from, 16), to += 4, from += 4;
    if (n & 2) memcpy(to, from, 8), to += 2, from += 2;
    if (n & 1) *to = *from;
}

// the first n floats at p (all if n >= WIDTH), 0 in the other lanes
INLINE vec load_some(const float *p, long n) {
    vec value = {};
    if (n >= WIDTH) return LOAD(p);
    move_some((float *)&value, p, n);
    return value;
}

INLINE void store_some(float *p, vec value, long n) {
    if (n >= WIDTH)
        STORE(p, value);
    else
        move_some(p, (const float *)&value, n);
}

// n floats, in vectors where they are many
static inline void copy(float *to, const float *from, long n) {
    for (; n >= WIDTH; n -= WIDTH, to += WIDTH, from += WIDTH) STORE(to, LOAD(from));
    if (n > 0) move_some(to, from, n);
}

static inline void clear(float *to, long n) {
    for (; n >= WIDTH; n -= WIDTH, to += WIDTH) STORE(to, (vec){});
    while (n-- > 0) *to++ = 0;
}

INLINE vec choose(ivec mask, vec yes, vec no) {
    return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask));
}

// exp(x) to 2 units in the last place: 2^k times a polynomial of the rest, |r| <= ln 2 / 2 (Cephes, Moshier 1989).
// Below -87.3 it is 0, above 88.3 infinity; NaN stays NaN.
INLINE vec exp_of(vec x) {
    const vec big = splat(12582912.f); // 1.5 2^23: adding it rounds to an integer
    const vec k = (x * 1.44269504f + big) - big, r = x - k * .693359375f + k * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + .5f;
    p = p * r * r + r + 1;
    const vec power = (vec)((__builtin_convertvector(choose(x == x, k, (vec){}), ivec) + 127) << 23);
    return choose(x < -87.3f, (vec){}, choose(x > 88.3f, splat(__builtin_inff()), p * power));
}

// the mask of the first n lanes
INLINE ivec first_lanes(long n) {
    static const int32_t lanes[2 * WIDTH] = {[0 ... WIDTH - 1] = -1};
    ivec mask;
    memcpy(&mask, lanes + WIDTH - MAX(0, MIN(WIDTH, n)), sizeof mask);
    return mask;
}

// by halves: lane after lane would wait for each addition in turn
INLINE float sum(vec x) {
#if WIDTH == 16
    const v8 half = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
                    __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
#elif WIDTH == 8
    const v8 half = x;
#endif
#if WIDTH > 4
    const v4 four = __builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7);
#else
    const v4 four = x;
#endif
    return (four[0] + four[2]) + (four[1] + four[3]);
}

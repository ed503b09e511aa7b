// Vectors of floats by GCC's and Clang's extension: + - * on whole vectors, the compiler picks the instructions.
//
// Each level (baseline, AVX2, AVX-512) compiles the kernels once, with its own WIDTH. Vectors may lie anywhere in
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

#define INLINE static inline __attribute__((always_inline))
// UNROLL: the loop has a fixed, small count. EACH: its turns are independent, also where arrays are one and the same.
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

INLINE float sum(vec x) {
    float total = 0;
    UNROLL for (int i = 0; i < WIDTH; i++) total += x[i];
    return total;
}

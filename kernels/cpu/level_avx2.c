// x86-64 with AVX2 and FMA (Haswell 2013, Zen 2017): 8 floats in a vector, 16 registers.
#if defined(__x86_64__)
#define LEVEL avx2
#define WIDTH 8
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include "level.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

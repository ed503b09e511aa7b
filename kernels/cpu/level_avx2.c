// x86-64 with AVX2, FMA and F16C (Haswell 2013, Zen 2017): 8 floats in a vector, 16 registers.
#if defined(__x86_64__)
#define LEVEL avx2
#define WIDTH 8
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#include "level.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

// x86-64 with AVX-512 (Skylake-SP 2017, Zen 4 2022): 16 floats in a vector, 32 registers.
#if defined(__x86_64__)
#define LEVEL avx512
#define WIDTH 16
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c")
#endif
#include "level.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

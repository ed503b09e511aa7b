// The CUDA language for a student's file: what the shim knows, and more names that first kernels use.
//     g++ -std=c++17 -O1 -g -fsanitize=thread,bounds -include lab/lab.h -c -x c++ student.cu
// -fsanitize=thread calls a function before every load and store; hooks.cpp has these functions, in place of the
// sanitizer's own library.
#pragma once
#include <cassert>
#include <cstdint>
#include <cstdio>

#include "../shim/cuda_on_cpu.h"

#define __constant__ static
#define __noinline__ __attribute__((noinline))
#define __CUDA_ARCH__ 900  // as in the part of a compilation that is for a GPU

using std::abs;
using uint = unsigned;
constexpr int warpSize = on_cpu::WARP;

struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
template <class T>
inline __attribute__((always_inline)) T __ldg(const T* from) {
  return *from;
}
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// Around the student's arrays in the section of shared memory, so that an index beyond them is seen.
#define LAB_GUARD(name) static __attribute__((section("shared_memory"), used, aligned(128))) char name[4096]
LAB_GUARD(lab_guard_before);

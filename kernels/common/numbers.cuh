// The number formats of tensor cores, without cuda_bf16.h (so that NVRTC needs no header path).
//   bf16: the upper half of a float: 8 bits of exponent, 7 of fraction.
//   tf32: a float whose lower 13 bits of fraction the tensor core ignores; 10 are left.
#pragma once

struct alignas(2) bf16 {
  unsigned short bits;
};

__device__ __forceinline__ unsigned float_bits(float x) {
#ifdef CUDA_ON_CPU
  unsigned bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
#else
  return __float_as_uint(x);
#endif
}

__device__ __forceinline__ float float_from_bits(unsigned bits) {
#ifdef CUDA_ON_CPU
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
#else
  return __uint_as_float(bits);
#endif
}

__device__ __forceinline__ float infinity() { return float_from_bits(0x7F800000); }

// The larger; NaN if one of them is.
__device__ __forceinline__ float max_or_nan(float a, float b) {
#if defined(CUDA_ON_CPU) || __CUDA_ARCH__ < 800
  return a > b || a != a ? a : b;
#else
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
#endif
}

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return float_from_bits(unsigned(x.bits) << 16); }

// Nearest bf16, ties to even.
__device__ __forceinline__ bf16 to_bf16(float x) {
#if defined(CUDA_ON_CPU) || __CUDA_ARCH__ < 800
  unsigned bits = float_bits(x);
  if (x != x) return {0x7FFF};
  bits += 0x7FFF + (bits >> 16 & 1);
  return {static_cast<unsigned short>(bits >> 16)};
#else
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#endif
}

// Two of them in a register, `low` in its lower half: what tensor cores take. One instruction for both.
__device__ __forceinline__ unsigned to_bf16_pair(float low, float high) {
#if defined(CUDA_ON_CPU) || __CUDA_ARCH__ < 800
  return to_bf16(low).bits | unsigned(to_bf16(high).bits) << 16;
#else
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

// Nearest tf32, ties away from zero, as the bits of a float. The tensor core alone would cut the 13 bits off, and
// cutting always errs towards zero: sums of many products would drift.
__device__ __forceinline__ unsigned to_tf32(unsigned bits) {
#ifdef CUDA_ON_CPU
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return bits;
  return (bits + 0x1000) & ~0x1FFFu;
#else
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
  return rounded;
#endif
}

// Nearest fp16, ties to even, as its 16 bits; and back.
__device__ __forceinline__ unsigned short to_half_bits(float x) {
#ifdef CUDA_ON_CPU
  const unsigned bits = float_bits(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7FFFFFFF;
  if (rest > 0x7F800000) return 0x7FFF;
  if (rest >= 0x477FF000) return sign | 0x7C00;  // 65520 and more: infinity
  if (rest < 0x38800000) return sign | (float_bits(float_from_bits(rest) + 0.5f) - 0x3F000000);  // in units of 2^-24
  return sign | (rest - 0x38000000 + 0xFFF + (rest >> 13 & 1)) >> 13;
#else
  unsigned short y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
#endif
}
__device__ __forceinline__ float from_half_bits(unsigned short half) {
#ifdef CUDA_ON_CPU
  const unsigned rest = half & 0x7FFF, sign = unsigned(half & 0x8000) << 16;
  if (rest >= 0x7C00) return float_from_bits(sign | 0x7F800000 | rest << 13);
  return float_from_bits(sign | float_bits(float_from_bits(rest << 13) * 0x1p112f));
#else
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(half));
  return y;
#endif
}

template <int BF16>  // the value of a macro that chooses a type
struct FloatOrBf16 {
  using Type = float;
};
template <>
struct FloatOrBf16<1> {
  using Type = bf16;
};

template <class T>
struct Convert;
template <>
struct Convert<float> {
  static __device__ __forceinline__ float from(float x) { return x; }
};
template <>
struct Convert<bf16> {
  static __device__ __forceinline__ bf16 from(float x) { return to_bf16(x); }
};

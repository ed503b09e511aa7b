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

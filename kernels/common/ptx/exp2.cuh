// 2^x by the unit for special functions (MUFU.EX2): one instruction, 16 a clock and multiprocessor, at most 2 units in
// the last place off; 0 for -infinity and where the result is below 2^-126. PTX ISA, "ex2". Exponentials of attention
// are powers of 2 whose factor log2(e) is part of the scale.
#pragma once

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

__device__ __forceinline__ float exp2_approx(float x) {
#ifdef CUDA_ON_CPU
  const float y = exp2f(x);
  return y < 0x1p-126f ? 0 : y;
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

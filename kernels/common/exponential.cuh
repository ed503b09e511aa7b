// Powers of 2 by the special function unit: one instruction, with a relative error of 2^-22.
#pragma once

constexpr float LOG2_E = 1.44269504089f;

// 2^x; 0 below -126. exp2_approx((x - largest) LOG2_E), which is exp(x - largest), errs by 2^-23 |x - largest| more.
__device__ __forceinline__ float exp2_approx(float x) {
#ifdef CUDA_ON_CPU
  return x < -126 ? 0 : exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// tanh by the unit for special functions (MUFU.TANH, sm_75): one instruction, with a relative error of up to 2^-11. PTX
// ISA, "tanh".
#pragma once
#include "common/numbers.cuh"

__device__ __forceinline__ float tanh_approx(float x) {
#ifdef CUDA_ON_CPU
  const unsigned bits = float_bits(tanhf(x));
  return x != x ? x : float_from_bits((bits + 0x800) & ~0xFFFu);  // 11 bits behind the first: as far off
#else
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

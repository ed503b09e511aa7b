// Division of an index by a number that the host knows: a high product, a sum and a shift. The GPU has no instruction
// for division; the compiler needs some 20 of them for 32 bits and 70 or more for 64.
//     n / d = (hi(n m) + n) >> s    for 0 <= n < 2^31, 1 <= d < 2^31; hi: the upper 32 bits of 64
// Granlund and Montgomery 1994, "Division by invariant integers using multiplication". m and s:
// mpitrain/kernels/divide.py.
#pragma once

struct FastDivide {
  unsigned divisor, multiplier, shift;
  struct Parts {
    int quotient, remainder;
  };
  __device__ __forceinline__ int quotient(int n) const {
    return int((__umulhi(unsigned(n), multiplier) + unsigned(n)) >> shift);  // the sum is below 2^32
  }
  __device__ __forceinline__ Parts operator()(int n) const {
    const int found = quotient(n);
    return {found, n - found * int(divisor)};
  }
};

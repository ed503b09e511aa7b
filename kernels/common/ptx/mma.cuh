// mma.sync (sm_80): a warp multiplies A (16 x K) by B (K x 8) and adds to D (16 x 8, float), in registers.
// With g = lane / 4 and t = lane % 4, a lane holds (PTX ISA, "Matrix fragments for mma.m16n8k8", ".m16n8k16"):
//   D  d[0], d[1]: row g, columns 2t, 2t + 1; d[2], d[3]: row g + 8, the same columns
//   tf32, K = 8    a[0]: row g, k = t; a[1]: row g + 8; a[2], a[3]: the same rows, k = t + 4
//                  b[0]: k = t, column g; b[1]: k = t + 4
//   bf16, K = 16   a[0]: row g, k = 2t and 2t + 1; a[1]: row g + 8; a[2], a[3]: the same rows, k + 8
//                  b[0]: k = 2t and 2t + 1, column g; b[1]: k + 8
// Seen as bytes the two are one: a register is 4 of the 32 bytes of a row, at 4t or at 16 + 4t.
#pragma once
#include "common/numbers.cuh"

#ifdef CUDA_ON_CPU
namespace on_cpu {

struct Operands {
  unsigned a[4], b[2];
};

// d += A B, where `multiply` adds the products that two registers at the same place in k hold.
template <class Multiply>
void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Multiply multiply) {
  const Gathered<Operands> all(~0u, Operands{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
  const int g = lane() / 4, t = lane() % 4;
  for (int i = 0; i < 4; i++) {
    const int row = g, column = 2 * t + i % 2, lower = i / 2;
    for (int half = 0; half < 2; half++)
      for (int place = 0; place < 4; place++)
        d[i] += multiply(all.of[4 * row + place].a[2 * half + lower], all.of[4 * column + place].b[half]);
  }
}

}  // namespace on_cpu
#endif

__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef CUDA_ON_CPU
  on_cpu::mma(d, a, b, [](unsigned x, unsigned y) {
    return float_from_bits(x & ~0x1FFFu) * float_from_bits(y & ~0x1FFFu);  // the lower 13 bits are not looked at
  });
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef CUDA_ON_CPU
  on_cpu::mma(d, a, b, [](unsigned x, unsigned y) {
    return float_from_bits(x << 16) * float_from_bits(y << 16) +
           float_from_bits(x & 0xFFFF0000u) * float_from_bits(y & 0xFFFF0000u);
  });
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

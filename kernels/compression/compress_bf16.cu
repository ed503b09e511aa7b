// Gradients as bf16, rounded to nearest even, with error feedback (compression/feedback.cuh); and back
// Shapes: x, y, error (n,) float, error null for none; message (n,) bf16
// Launch: block 256, any grid
// Roofline: encode 6 bytes an element, 14 with errors; decode 6, 10 where it adds; memory-bound.
// Oracle: ops/compress.py. Source: Kalamkar et al. 2019, "A study of BFLOAT16 for deep learning training".
#include "compression/feedback.cuh"

static_assert(sizeof(Vec<unsigned short, PIECE>) == 8, "a piece of a message is one store");

// A NaN keeps its sign and its upper bits, where the hardware's conversion has one NaN for all
__device__ __forceinline__ unsigned short upper_half(float x) {
  const unsigned bits = float_bits(x);
  return magnitude_bits(x) > 0x7F800000 ? bits >> 16 | 0x40 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

extern "C" __global__ void encode_bf16(const float* x, float* error, unsigned short* message, Feedback feedback,
                                       long long n) {
  Source<PIECE> source(x, error, feedback);
  const bool aligned = piece_aligned(message);
  for_each_piece(n, [&](long long i, int count) {
    source.read(i, count);
    Vec<unsigned short, PIECE> halves;
    Vec<float, PIECE> sent;
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      halves.at[j] = upper_half(source.u.at[j]);
      sent.at[j] = float_from_bits(unsigned(halves.at[j]) << 16);
    }
    store<PIECE>(message + i, halves, count, aligned);
    source.keep(i, count, sent);
  });
}

extern "C" __global__ void decode_bf16(const unsigned short* message, float* y, int add, long long n) {
  const bool halves_aligned = piece_aligned(message), aligned = piece_aligned(y);
  for_each_piece(n, [&](long long i, int count) {
    const auto halves = load<PIECE>(message + i, count, halves_aligned);
    Vec<float, PIECE> decoded;
#pragma unroll
    for (int j = 0; j < PIECE; j++) decoded.at[j] = float_from_bits(unsigned(halves.at[j]) << 16);
    put<PIECE>(y, i, count, decoded, add, aligned);
  });
}

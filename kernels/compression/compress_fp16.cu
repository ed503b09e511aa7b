// Gradients as fp16 times a power of two for each block, with error feedback (compression/feedback.cuh); and back
// Shapes: x, y, error (n,) float, error null for none; message: for each BLOCK elements a scale (float) and BLOCK fp16,
//     4-byte aligned
// Launch: block 256, a warp for each block of the message; any grid
// Roofline: encode 6 bytes an element, 14 with errors (the second read is from a cache); decode 6, 10 where it adds;
//     memory-bound. Oracle: ops/compress.py. Source: Micikevicius et al. 2018, "Mixed precision training".
//
// The largest number of a block is sent as 2^14 up to 2^15, so no conversion overflows.
#include "compression/feedback.cuh"

#define BLOCK 256
constexpr int PAIR = 2, TURN = 32 * PAIR, TO_FP16 = 14;  // a lane stores a pair: 4 bytes, the alignment of a message
static_assert(BLOCK % TURN == 0, "a block is whole turns of a warp");
static_assert(sizeof(Vec<unsigned short, PAIR>) == 4, "a pair is one store");

extern "C" __global__ void __launch_bounds__(256)
encode_fp16(const float* x, float* error, unsigned char* message, Feedback feedback, long long n) {
  Source<PAIR> source(x, error, feedback);
  const int lane = threadIdx.x % 32;
  for_each_block(message, n, BLOCK, 2 * BLOCK, [&](long long first, int length, unsigned char* place) {
    unsigned most = 0;
#pragma unroll
    for (int i = lane * PAIR; i < BLOCK; i += TURN) {
      source.read(first + i, length - i);
#pragma unroll
      for (int j = 0; j < PAIR; j++) most = max(most, magnitude_bits(source.u.at[j]));
    }
    most = warp_max_bits(most);  // the bits of a NaN are above those of an infinity
    const float largest = float_from_bits(most);
    const bool sends = is_finite(largest) && largest >= LEAST_SCALED;
    const unsigned exponent = most >> 23;
    const float scale = sends ? float_from_bits((exponent - TO_FP16) << 23) : is_finite(largest) ? 0 : nan_bits();
    const float factor = sends ? float_from_bits((2 * 127 + TO_FP16 - exponent) << 23) : 0;
    if (lane == 0) *reinterpret_cast<float*>(place) = scale;
#pragma unroll
    for (int i = lane * PAIR; i < BLOCK; i += TURN) {
      source.read(first + i, length - i);
      Vec<unsigned short, PAIR> halves;
      Vec<float, PAIR> sent;
#pragma unroll
      for (int j = 0; j < PAIR; j++) {
        halves.at[j] = to_half_bits(rounded_product(sends ? source.u.at[j] : 0, factor));
        sent.at[j] = rounded_product(from_half_bits(halves.at[j]), scale);
      }
      store<PAIR>(reinterpret_cast<unsigned short*>(place + 4) + i, halves, PAIR, true);
      source.keep(first + i, length - i, sent);
    }
  });
}

extern "C" __global__ void __launch_bounds__(256)
decode_fp16(const unsigned char* message, float* y, int add, long long n) {
  const bool aligned = rows_aligned<PAIR>(y, 0);
  for_each_block(message, n, BLOCK, 2 * BLOCK, [&](long long first, int length, const unsigned char* place) {
    const float scale = *reinterpret_cast<const float*>(place);
#pragma unroll
    for (int i = threadIdx.x % 32 * PAIR; i < BLOCK; i += TURN) {
      const auto halves = load<PAIR>(reinterpret_cast<const unsigned short*>(place + 4) + i, PAIR, true);
      Vec<float, PAIR> decoded;
#pragma unroll
      for (int j = 0; j < PAIR; j++) decoded.at[j] = rounded_product(from_half_bits(halves.at[j]), scale);
      put<PAIR>(y, first + i, length - i, decoded, add, aligned);
    }
  });
}

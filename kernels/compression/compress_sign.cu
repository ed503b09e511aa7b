// Gradients as signs times the mean magnitude of each block, with error feedback (compression/feedback.cuh); and back
// Shapes: x, y, error (n,) float, error null for none; message: for each BLOCK elements a scale (float) and 8 words, bit j
//     of word i that of element 8 j + i, 4-byte aligned
// Launch: block 256, a warp for each block of the message; any grid
// Roofline: encode 4.1 bytes an element, 12.1 with errors; decode 4.1, 8.1 where it adds; memory-bound.
// Oracle: ops/compress.py. Source: Seide et al. 2014, "1-bit stochastic gradient descent".
//
// A lane has 8 neighbors, which stay in registers: a ballot over the i-th of all lanes is word i.
#include "common/reduce.cuh"
#include "compression/feedback.cuh"

#define BLOCK 256
constexpr int EACH = 8, BYTES = BLOCK / 8;
static_assert(BLOCK == 32 * EACH, "a lane has a bit in each word");
static_assert(sizeof(Vec<float, EACH>) == 4 * EACH, "two loads of 16 bytes");

__device__ __forceinline__ float with_sign_of(float magnitude, unsigned sign) {
  return float_from_bits(magnitude_bits(magnitude) | (sign & 0x80000000));
}

extern "C" __global__ void __launch_bounds__(256)
encode_sign(const float* x, float* error, unsigned char* message, Feedback feedback, long long n) {
  Source<EACH> source(x, error, feedback);
  const int lane = threadIdx.x % 32, i = lane * EACH;
  for_each_block(message, n, BLOCK, BYTES, [&](long long first, int length, unsigned char* place) {
    source.read(first + i, length - i);
    float sum = 0;
    unsigned words[EACH];
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      sum = rounded_sum(sum, float_from_bits(magnitude_bits(source.u.at[j])));
      words[j] = __ballot_sync(~0u, float_bits(source.u.at[j]) >> 31);
    }
    const float scale = warp_sum(sum) / length;
    unsigned* to = reinterpret_cast<unsigned*>(place);
    Vec<float, EACH> sent;
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      if (lane == j) to[1 + j] = words[j];
      sent.at[j] = with_sign_of(scale, float_bits(source.u.at[j]));
    }
    if (lane == 0) to[0] = float_bits(scale);
    source.keep(first + i, length - i, sent);
  });
}

extern "C" __global__ void __launch_bounds__(256)
decode_sign(const unsigned char* message, float* y, int add, long long n) {
  const int lane = threadIdx.x % 32, i = lane * EACH;
  const bool aligned = rows_aligned<EACH>(y, 0);
  for_each_block(message, n, BLOCK, BYTES, [&](long long first, int length, const unsigned char* place) {
    const unsigned* from = reinterpret_cast<const unsigned*>(place);
    const float scale = float_from_bits(from[0]);
    Vec<float, EACH> decoded;
#pragma unroll
    for (int j = 0; j < EACH; j++) decoded.at[j] = with_sign_of(scale, from[1 + j] >> lane << 31);
    put<EACH>(y, first + i, length - i, decoded, add, aligned);
  });
}

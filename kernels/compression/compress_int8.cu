// Gradients as int8 times a scale for each block, with error feedback (compression/feedback.cuh); and back
// Shapes: x, y, error (n,) float, error null for none; message: for each `block` elements a scale (float) and `block`
//     bytes, 4-byte aligned; block a multiple of 4
// Launch: block 256, a warp for each block of the message; any grid
// Roofline: encode 5 bytes an element, 13 with errors (the second read is from a cache); decode 5, 9 where it adds;
//     memory-bound. Oracle: ops/compress.py. Source: Dettmers 2016, "8-bit approximations for parallelism in deep learning".
//
// A warp reads its block twice: for the largest |u|, then to round. So a block may have any length.
#include "compression/feedback.cuh"

constexpr int TURN = 32 * PIECE;  // elements that a warp has at a time
static_assert(sizeof(Vec<signed char, PIECE>) == 4, "a piece of a message is one store");

extern "C" __global__ void __launch_bounds__(256)
encode_int8(const float* x, float* error, unsigned char* message, Feedback feedback, long long n, int block) {
  Source<PIECE> source(x, error, feedback);
  const int lane = threadIdx.x % 32;
  for_each_block(message, n, block, block, [&](long long first, int length, unsigned char* place) {
    unsigned most = 0;
    for (int i = lane * PIECE; i < length; i += TURN) {
      source.read(first + i, length - i);
#pragma unroll
      for (int j = 0; j < PIECE; j++) most = max(most, magnitude_bits(source.u.at[j]));
    }
    most = warp_max_bits(most);  // the bits of a NaN are above those of an infinity
    const float largest = float_from_bits(most);
    const bool sends = is_finite(largest) && largest >= LEAST_SCALED;
    const float scale = sends ? largest / 127 : is_finite(largest) ? 0 : nan_bits(), factor = sends ? 127 / largest : 0;
    if (lane == 0) *reinterpret_cast<float*>(place) = scale;
    for (int i = lane * PIECE; i < block; i += TURN) {
      source.read(first + i, length - i);
      Vec<signed char, PIECE> q;
      Vec<float, PIECE> sent;
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        const float rounded = rintf(rounded_product(sends ? source.u.at[j] : 0, factor));
        q.at[j] = static_cast<signed char>(rounded);
        sent.at[j] = rounded_product(rounded, scale);
      }
      store<PIECE>(reinterpret_cast<signed char*>(place) + 4 + i, q, PIECE, true);
      source.keep(first + i, length - i, sent);
    }
  });
}

extern "C" __global__ void __launch_bounds__(256)
decode_int8(const unsigned char* message, float* y, int add, long long n, int block) {
  const bool aligned = piece_aligned(y);
  for_each_block(message, n, block, block, [&](long long first, int length, const unsigned char* place) {
    const float scale = *reinterpret_cast<const float*>(place);
    for (int i = threadIdx.x % 32 * PIECE; i < length; i += TURN) {
      const auto q = load<PIECE>(reinterpret_cast<const signed char*>(place) + 4 + i, PIECE, true);
      Vec<float, PIECE> decoded;
#pragma unroll
      for (int j = 0; j < PIECE; j++) decoded.at[j] = rounded_product(q.at[j], scale);
      put<PIECE>(y, first + i, length - i, decoded, add, aligned);
    }
  });
}

// Loops over images whose channels have vectors of their own, as batch normalization has: pieces of 16 bytes of rows
// (pixels), for which what depends on channels alone stays in registers.
#pragma once
#include "common/elements.cuh"

// Rows joined to periods of whole pieces: 1, 2, 4 or 8 rows, so that each piece of a thread begins at the same channel
// and what depends on channels alone stays in registers.
struct Periods {
  int pieces, num;
  long long elements;
  __device__ __forceinline__ Periods(int rows, int channels) : elements((long long)rows * channels) {
    static_assert(PIECE == 4 || PIECE == 8, "a power of two");
    int doublings = 0;
    while ((channels << doublings) % PIECE) doublings++;
    pieces = (channels << doublings) / PIECE;
    num = (rows + (1 << doublings) - 1) >> doublings;
  }
  // prepare(first channel of a piece) makes body(pieces that were read), which returns the results. read(element,
  // count, whole) and write(element, count, whole, results) are for the piece that begins at this element; with
  // `aligned` arrays whose pieces are all whole, two are read before the first is written.
  template <class Prepare, class Read, class Write>
  __device__ __forceinline__ void for_each_piece(int channels, bool aligned, Prepare prepare, Read read,
                                                 Write write) const {
    for_each_across(pieces, [&](int piece) {
      int channel = piece * PIECE;
      while (channel >= channels) channel -= channels;  // 7 times at most
      const auto body = prepare(channel);
      const auto first = [&](int period) { return ((long long)period * pieces + piece) * PIECE; };
      if (aligned && elements % PIECE == 0)
        for_each_down<2>(
            num, [&](int period) { return read(first(period), PIECE, true); },
            [&](int period, const decltype(read(0, 0, true))& pieces) {
              write(first(period), PIECE, true, body(pieces));
            });
      else
        for_each_down(num, [&](int period) {
          const long long at = first(period);
          const int count = elements - at < PIECE ? int(elements - at) : PIECE;
          write(at, count, false, body(read(at, count, false)));
        });
    });
  }
};

// The values that a vector (or several, one after the other) holds for a piece of elements, whose channels may turn
// over.
struct OfChannels {
  int channel, channels;
  bool aligned;
  __device__ __forceinline__ OfChannels(int channel, int channels, const float* vector)
      : channel(channel), channels(channels), aligned(channels % PIECE == 0 && piece_aligned(vector)) {}
  __device__ __forceinline__ Vec<float, PIECE> operator()(const float* vector) const {
    if (aligned) return load<PIECE>(vector + channel, PIECE, true);
    Vec<float, PIECE> v;
    int at = channel;
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      v.at[i] = vector[at];
      at = at + 1 == channels ? 0 : at + 1;
    }
    return v;
  }
};

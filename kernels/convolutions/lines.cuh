// Convolutions line by line (sm_90): the work of a consumer is a range of lines of out, down the images.
//
// 64 places across are the pixels of a line of one image, or of the same line of several narrow ones side by side:
// IMAGES of ACROSS places. Wider lines are cut in strips. Below a line of a unit (a strip of so many images) lies the
// next, and below its last the first of the next unit. Between the lines of two units come as many lines of zeros as
// the padding has: those below one image are those above the next. So line t of a unit is line t - padding of the
// gathered images, and line o of out is the sum over lines o to o + TAPS - 1. What begins behind the last line of out
// belongs to two units and is not written. The copy engine fills with zeros what lies outside of the images.
#pragma once
#include "convolutions/convolution.cuh"

// Of all groups.
template <class Input, class Output>
__device__ __forceinline__ int channels_of_out(const Convolution<Input, Output>& conv) {
  return conv.gemm.n * conv.gemm.batch;
}

// A line of a unit.
struct LinePlace {
  int group, strip, line;  // group: of images
};

template <int TAPS, int ACROSS>
struct Lines {
  static constexpr int IMAGES = 64 / ACROSS;
  int outputs, period;  // lines of a unit: of out, and from one unit to the next
  int strips, per;      // of a line; lines of out of one consumer
  int total;            // lines of out of all units

  // `consumers`: among which all lines are divided.
  template <class Input, class Output>
  __device__ __forceinline__ Lines(const Convolution<Input, Output>& conv, int consumers) {
    const Axis &rows = conv.axes[0][0], &cols = conv.axes[1][0];
    outputs = rows.positions;
    period = max(conv.height - rows.first, outputs);
    strips = (cols.positions + ACROSS - 1) / ACROSS;
    total = (conv.images + IMAGES - 1) / IMAGES * strips * outputs;
    per = (total + consumers - 1) / consumers;
  }

  // Lines that consumer number `consumer` reads, and the first of them.
  __device__ __forceinline__ int count(int consumer) const {
    const int first = consumer * per, last = min(total, first + per) - 1;
    return first <= last ? position(last) - position(first) + TAPS : 0;
  }
  __device__ __forceinline__ LinePlace first(int consumer) const {
    const int line = consumer * per, unit = line / outputs;
    return {unit / strips, unit % strips, line % outputs};
  }
  __device__ __forceinline__ void advance(LinePlace& at) const {
    if (++at.line < period) return;
    at.line = 0;
    if (++at.strip < strips) return;
    at.strip = 0;
    at.group++;
  }

 private:
  __device__ __forceinline__ int position(int line) const { return line / outputs * period + line % outputs; }
};

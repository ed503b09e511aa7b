// Pools over images: the largest or the mean value under each window, and the gradients
// Shapes: x, dx (N, H, W, C), y, dy (N, OH, OW, C) of Element, argmax (N, OH, OW, C) of ARGMAX_BITS (8 or 16);
//     window by value, see convolutions/window.cuh (dilation 1, one group). Global: x (N, P, C), y (N, C).
//     part: 1 / (KH KW), or 1 / P
// Launch: across: pieces of 4 channels of an image of what is written; down: images (common/elements.cuh); fewer
//     threads of any shape do, in loops
// Roofline: one read of x (of argmax and dy), one write of y (dx); memory-bound. Oracle: ops/pool.py.
//
// Padded pixels never win, and count as zeros of a mean. argmax is the number of the first tap with the maximum.
// With a ReLU (relu 1) 0 takes part and has no tap: where no tap is above it, argmax is KH KW, and no pixel gets dy.
// Gradients are gathered: each pixel of dx reads the windows that cover it, so there are no atomics.
//
// A thread finds its place in an image once, by divisions that are multiplications, and takes it in image after image.
#include "convolutions/window.cuh"

#ifndef ARGMAX_BITS
#define ARGMAX_BITS 8
#endif
#if ARGMAX_BITS == 8
using Argmax = unsigned char;
#else
using Argmax = unsigned short;
#endif

// The pixels that an output sees, and the pieces of them at its channels.
struct Seen {
  const Window& window;
  int start[2], stop[2];  // the taps that are inside of the image
  long long first;        // offset of the piece under the first of them
  __device__ __forceinline__ Seen(const Window& window, const Window::Place& at) : window(window), first(at.channel) {
    const int size[2] = {window.height, window.width}, out[2] = {at.row, at.col};
    const long long apart[2] = {(long long)window.width * window.channels, window.channels};
#pragma unroll
    for (int dim = 0; dim < 2; dim++) {
      const int seen = window.first_seen(dim, out[dim]);
      start[dim] = max(0, -seen);
      stop[dim] = min(window.kernel[dim], size[dim] - seen);
      first += (seen + start[dim]) * apart[dim];
    }
  }
  // body(tap, piece) for each pixel of one image.
  template <class Body>
  __device__ __forceinline__ void for_each(const Element* image, int count, bool aligned, Body body) const {
    const long long across = (long long)window.width * window.channels;
    const Element* line = image + first;
    for (int kh = start[0]; kh < stop[0]; kh++, line += across) {
      const Element* pixel = line;
      for (int kw = start[1]; kw < stop[1]; kw++, pixel += window.channels)
        body(kh * window.kernel[1] + kw, load<PIECE>(pixel, count, aligned));
    }
  }
};

// body(tap, offset) for each output that sees a pixel at `at`, in the order of the taps; offset: of its piece in y.
struct SeenBy {
  const Window& window;
  Window::Seers rows, cols;
  long long first;
  __device__ __forceinline__ SeenBy(const Window& window, const Window::Place& at)
      : window(window),
        rows(window.seers(0, at.row, window.out_height)),
        cols(window.seers(1, at.col, window.out_width)),
        first(((long long)rows.out * window.out_width + cols.out) * window.channels + at.channel) {}
  template <class Body>
  __device__ __forceinline__ void for_each(Body body) const {
    const long long across = (long long)window.out_width * window.channels;
    long long line = first;
    for (int kh = rows.tap, oh = rows.out; kh < window.kernel[0] && oh >= 0;
         kh += window.tap_step[0], oh -= 1, line -= across) {
      long long offset = line;
      for (int kw = cols.tap, ow = cols.out; kw < window.kernel[1] && ow >= 0;
           kw += window.tap_step[1], ow -= 1, offset -= window.channels)
        body(kh * window.kernel[1] + kw, offset);
    }
  }
};

using Values = Vec<float, PIECE>;

__device__ __forceinline__ void add_to(Values& sum, const Vec<Element, PIECE>& piece) {
  sum = apply<float>([](float a, float b) { return a + b; }, sum, piece);
}

// argmax may be null.
extern "C" __global__ void __launch_bounds__(256)
max_pool(const Element* x, Element* y, Argmax* argmax, int relu, const Window window) {
  const bool aligned = rows_aligned<PIECE>(x, window.channels) && rows_aligned<PIECE>(y, window.channels) &&
                       rows_aligned<PIECE>(argmax, window.channels);
  const float least = relu ? 0 : float_from_bits(0xFF800000);  // minus infinity
  for_each_across(window.pixels_out() * window.pieces(), [&](int i) {
    const auto at = window.place(i, window.by_out_width);
    const Seen seen(window, at);
    const int count = window.channels - at.channel;
    for_each_down(window.images, [&](int image) {
      Values largest;
      Vec<Argmax, PIECE> first;
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        largest.at[j] = least;
        first.at[j] = Argmax(relu ? window.taps() : 0);
      }
      seen.for_each(x + image * window.elements_in(), count, aligned, [&](int tap, const Vec<Element, PIECE>& piece) {
#pragma unroll
        for (int j = 0; j < PIECE; j++) {
          const float value = to_float(piece.at[j]);
          if (value > largest.at[j]) first.at[j] = Argmax(tap);
          if (value > largest.at[j] || value != value) largest.at[j] = value;  // NaN stays
        }
      });
      const long long place = image * window.elements_out() + at.offset;
      store<PIECE>(y + place, apply<Element>([](float x) { return x; }, largest), count, aligned);
      if (argmax) store<PIECE>(argmax + place, first, count, aligned);
    });
  });
}

extern "C" __global__ void __launch_bounds__(256)
max_pool_dx(const Argmax* argmax, const Element* dy, Element* dx, const Window window) {
  const bool aligned = rows_aligned<PIECE>(dy, window.channels) && rows_aligned<PIECE>(dx, window.channels) &&
                       rows_aligned<PIECE>(argmax, window.channels);
  for_each_across(window.pixels_in() * window.pieces(), [&](int i) {
    const auto at = window.place(i, window.by_width);
    const SeenBy seers(window, at);
    const int count = window.channels - at.channel;
    for_each_down(window.images, [&](int image) {
      Values sum = {};
      const long long out = image * window.elements_out();
      seers.for_each([&](int tap, long long offset) {
        const auto taken = load<PIECE>(argmax + out + offset, count, aligned);
        const auto slope = load<PIECE>(dy + out + offset, count, aligned);
#pragma unroll
        for (int j = 0; j < PIECE; j++)
          if (taken.at[j] == tap) sum.at[j] += to_float(slope.at[j]);
      });
      const auto slope = apply<Element>([](float x) { return x; }, sum);
      store<PIECE>(dx + image * window.elements_in() + at.offset, slope, count, aligned);
    });
  });
}

extern "C" __global__ void __launch_bounds__(256)
mean_pool(const Element* x, Element* y, float part, const Window window) {
  const bool aligned = rows_aligned<PIECE>(x, window.channels) && rows_aligned<PIECE>(y, window.channels);
  for_each_across(window.pixels_out() * window.pieces(), [&](int i) {
    const auto at = window.place(i, window.by_out_width);
    const Seen seen(window, at);
    const int count = window.channels - at.channel;
    for_each_down(window.images, [&](int image) {
      Values sum = {};
      seen.for_each(x + image * window.elements_in(), count, aligned,
                    [&](int, const Vec<Element, PIECE>& piece) { add_to(sum, piece); });
      const auto mean = apply<Element>([&](float x) { return x * part; }, sum);
      store<PIECE>(y + image * window.elements_out() + at.offset, mean, count, aligned);
    });
  });
}

extern "C" __global__ void __launch_bounds__(256)
mean_pool_dx(const Element* dy, Element* dx, float part, const Window window) {
  const bool aligned = rows_aligned<PIECE>(dy, window.channels) && rows_aligned<PIECE>(dx, window.channels);
  for_each_across(window.pixels_in() * window.pieces(), [&](int i) {
    const auto at = window.place(i, window.by_width);
    const SeenBy seers(window, at);
    const int count = window.channels - at.channel;
    for_each_down(window.images, [&](int image) {
      Values sum = {};
      const Element* out = dy + image * window.elements_out();
      seers.for_each([&](int, long long offset) { add_to(sum, load<PIECE>(out + offset, count, aligned)); });
      const auto mean = apply<Element>([&](float x) { return x * part; }, sum);
      store<PIECE>(dx + image * window.elements_in() + at.offset, mean, count, aligned);
    });
  });
}

// Across: pieces of the channels.
extern "C" __global__ void __launch_bounds__(256)
global_mean(const Element* x, Element* y, float part, int images, int pixels, int channels) {
  const bool aligned = rows_aligned<PIECE>(x, channels) && rows_aligned<PIECE>(y, channels);
  for_each_across((channels + PIECE - 1) / PIECE, [&](int piece) {
    const int channel = piece * PIECE, count = channels - channel;
    for_each_down(images, [&](int image) {
      Values sum = {};
      const Element* pixel = x + (long long)image * pixels * channels + channel;
      for (int p = 0; p < pixels; p++, pixel += channels) add_to(sum, load<PIECE>(pixel, count, aligned));
      const auto mean = apply<Element>([&](float x) { return x * part; }, sum);
      store<PIECE>(y + (long long)image * channels + channel, mean, count, aligned);
    });
  });
}

// Across: pieces of the channels of all pixels of an image.
extern "C" __global__ void __launch_bounds__(256)
global_mean_dx(const Element* dy, Element* dx, float part, int images, int pixels, int channels,
               const FastDivide by_pieces) {
  const bool aligned = rows_aligned<PIECE>(dy, channels) && rows_aligned<PIECE>(dx, channels);
  for_each_across(pixels * int(by_pieces.divisor), [&](int i) {
    const auto at = by_pieces(i);
    const int channel = at.remainder * PIECE, count = channels - channel;
    for_each_down(images, [&](int image) {
      const auto slope = load<PIECE>(dy + (long long)image * channels + channel, count, aligned);
      const auto mean = apply<Element>([&](float x) { return x * part; }, slope);
      store<PIECE>(dx + ((long long)image * pixels + at.quotient) * channels + channel, mean, count, aligned);
    });
  });
}

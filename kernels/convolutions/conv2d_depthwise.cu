// Depthwise convolution: each channel has its own filter. y, and with stride 1 dx
// Shapes: x (N, H, W, C), y (N, OH, OW, C) of Element; w (KH, KW, 1, C), b (C,) or null float; window by value
// Types: KERNEL 3 or 5: square filters of that size, a STRIDE of 1 or 2, no dilation, and channels in whole aligned
//     pieces; 0: any. FLIP 1: w is read backwards, and y is dx of a convolution with stride 1, x its dy.
// Launch: across: pieces of 4 channels of a line of y; down: strips of ROWS lines (of one where KERNEL is 0); layers:
//     images (common/elements.cuh)
// Roofline: reads x and writes y once, 2 KH KW operations an element; memory-bound. A thread keeps its filter in
//     registers, and ROWS lines of y share what it loads: 3 x 3 takes 4.5 loads for a piece of y, not 9.
// Oracle: ops/conv2d_depthwise.py. Source: Howard et al. 2017, "MobileNets". It has not run on a GPU.
#include "convolutions/depthwise.cuh"

#ifndef KERNEL
#define KERNEL 0
#endif
#ifndef STRIDE
#define STRIDE 1
#endif
#ifndef FLIP
#define FLIP 0
#endif
#define ROWS 4
#define THREADS 256

// The number in w of tap `number`.
__device__ __forceinline__ int tap_of(int number, int taps) { return FLIP ? taps - 1 - number : number; }

#if KERNEL > 0

__device__ __forceinline__ void convolve(const Element* x, const float* w, const float* b, Element* y,
                                         const Window& window) {
  constexpr int SPAN = (ROWS - 1) * STRIDE + KERNEL;  // lines of x under a strip
  const int channels = window.channels, strips = (window.out_height + ROWS - 1) / ROWS;
  for_each_across(window.out_width * window.pieces(), [&](int item) {
    const auto at = window.by_pieces(item);
    const int channel = at.remainder * PIECE, first = at.quotient * STRIDE - window.padding[1];
    Sum filter[KERNEL][KERNEL];
#pragma unroll
    for (int tap = 0; tap < KERNEL * KERNEL; tap++)
      filter[tap / KERNEL][tap % KERNEL] = load<PIECE>(
          w + (long long)tap_of(tap, KERNEL * KERNEL) * channels + channel, PIECE, true);
    const Sum bias = b ? load<PIECE>(b + channel, PIECE, true) : Sum{};
    for_each_layer(window.images, [&](int image) {
      const Element* pixels = x + image * window.elements_in() + channel;
      Element* line = y + image * window.elements_out() + (long long)at.quotient * channels + channel;
      for_each_down(strips, [&](int strip) {
        const int top = strip * ROWS * STRIDE - window.padding[0];
        Sum sums[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) sums[r] = bias;
#pragma unroll
        for (int i = 0; i < SPAN; i++) {
          const bool is_line = unsigned(top + i) < unsigned(window.height);
          const Element* from = pixels + (long long)(is_line ? top + i : 0) * window.width * channels;
#pragma unroll
          for (int kw = 0; kw < KERNEL; kw++) {
            const bool inside = is_line && unsigned(first + kw) < unsigned(window.width);
            const Sum piece = seen<true>(from + (first + kw) * channels, inside, PIECE, true);
#pragma unroll
            for (int r = 0; r < ROWS; r++)
              if (i - r * STRIDE >= 0 && i - r * STRIDE < KERNEL)
                add_product(sums[r], piece, filter[i - r * STRIDE][kw]);
          }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++)
          if (strip * ROWS + r < window.out_height)
            store<PIECE>(line + (long long)(strip * ROWS + r) * window.out_width * channels, rounded(sums[r]), PIECE,
                         true);
      });
    });
  });
}

#else

__device__ __forceinline__ void convolve(const Element* x, const float* w, const float* b, Element* y,
                                         const Window& window) {
  const int channels = window.channels, taps = window.taps();
  const bool aligned = rows_aligned<PIECE>(x, channels) && rows_aligned<PIECE>(y, channels);
  const bool w_aligned = rows_aligned<PIECE>(w, channels);
  for_each_across(window.out_width * window.pieces(), [&](int item) {
    const auto at = window.by_pieces(item);
    const int channel = at.remainder * PIECE, count = channels - channel;
    const int first = window.first_seen(1, at.quotient);
    const Sum bias = b ? load<PIECE>(b + channel, count, false) : Sum{};
    for_each_layer(window.images, [&](int image) {
      const Element* pixels = x + image * window.elements_in() + channel;
      Element* line = y + image * window.elements_out() + (long long)at.quotient * channels + channel;
      for_each_down(window.out_height, [&](int out) {
        Sum sum = bias;
        for (int kh = 0, h = window.first_seen(0, out); kh < window.kernel[0]; kh++, h += window.dilation[0]) {
          if (unsigned(h) >= unsigned(window.height)) continue;
          const Element* from = pixels + (long long)h * window.width * channels;
          for (int kw = 0, v = first; kw < window.kernel[1]; kw++, v += window.dilation[1]) {
            if (unsigned(v) >= unsigned(window.width)) continue;
            const long long tap = tap_of(kh * window.kernel[1] + kw, taps);
            add_product(sum, seen<false>(from + (long long)v * channels, true, count, aligned),
                        load<PIECE>(w + tap * channels + channel, count, w_aligned));
          }
        }
        store<PIECE>(line + (long long)out * window.out_width * channels, rounded(sum), count, aligned);
      });
    });
  });
}

#endif

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_depthwise(const Element* x, const float* w, const float* b, Element* y, const Window window) {
  convolve(x, w, b, y, window);
}

// Pools by square windows of KERNEL pixels, STRIDE apart, over whole aligned pieces: all bounds of loops are known, so
// that many loads are under way, and neighbors share what they load.
//     Launch: across: pieces of a line, of y or of steps of dx; down: strips of lines; layers: images
#pragma once
#include "convolutions/pool.cuh"

static_assert(STRIDE <= KERNEL, "no pixel is stepped over");

constexpr int STRIP = STRIDE == 1 ? 4 : 2;     // lines of y of a thread
constexpr int STEPS = STRIDE == 1 ? 4 : 1;     // lines of dx of a thread are STEPS STRIDE
constexpr int BEFORE = (KERNEL - 1) / STRIDE;  // windows that begin in earlier steps and reach into a step

// A thread keeps STRIP lines of y at its column, whose windows overlap.
template <class State>
__device__ __forceinline__ void pool(const Element* x, const typename State::To& to, const Window& window) {
  constexpr int SPAN = (STRIP - 1) * STRIDE + KERNEL;  // lines of x under a strip
  const int channels = window.channels, strips = (window.out_height + STRIP - 1) / STRIP;
  for_each_across(window.out_width * window.pieces(), [&](int i) {
    const auto at = window.by_pieces(i);
    const int channel = at.remainder * PIECE, left = at.quotient * STRIDE - window.padding[1];
    for_each_layer(window.images, [&](int image) {
      const Element* pixels = x + image * window.elements_in() + (long long)left * channels + channel;
      const long long first = image * window.elements_out() + (long long)at.quotient * channels + channel;
      for_each_down(strips, [&](int strip) {
        const int top = strip * STRIP * STRIDE - window.padding[0];
        State states[STRIP];
#pragma unroll
        for (int h = 0; h < SPAN; h++) {
          const bool is_line = unsigned(top + h) < unsigned(window.height);
          const Element* line = pixels + (long long)(is_line ? top + h : 0) * window.width * channels;
          Values x[KERNEL];
#pragma unroll
          for (int kw = 0; kw < KERNEL; kw++) {
            const bool inside = is_line && unsigned(left + kw) < unsigned(window.width);
            x[kw] = values_if(inside, line + kw * channels, State::outside());
          }
          const State found = State::line(h * KERNEL, x);
#pragma unroll
          for (int r = 0; r < STRIP; r++)
            if (h == r * STRIDE)
              states[r] = found;
            else if (h > r * STRIDE && h < r * STRIDE + KERNEL)
              states[r].take(found);
        }
#pragma unroll
        for (int r = 0; r < STRIP; r++) {
          const int row = strip * STRIP + r;
          if (row < window.out_height)
            states[r].write(to, first + (long long)row * window.out_width * channels, PIECE, true, r * STRIDE * KERNEL);
        }
      });
    });
  });
}

// A step of dx is the STRIDE x STRIDE pixels under the first taps of one window (one that may lie outside): padding
// counted, those from STRIDE s on. Windows s - BEFORE to s see some of them, in the order of their taps.
template <class Slopes>
__device__ __forceinline__ void pool_dx(const Slopes& slopes, Element* dx, const Window& window) {
  constexpr int SPAN = STEPS + BEFORE;  // lines of windows over a strip
  const int channels = window.channels, first_row = window.padding[0] / STRIDE, first_col = window.padding[1] / STRIDE;
  const int rows = (window.height - 1 + window.padding[0]) / STRIDE - first_row + 1;
  const int cols = (window.width - 1 + window.padding[1]) / STRIDE - first_col + 1;
  for_each_across(cols * window.pieces(), [&](int item) {
    const auto at = window.by_pieces(item);
    const int channel = at.remainder * PIECE, col = first_col + at.quotient;
    for_each_layer(window.images, [&](int image) {
      const long long outputs = image * window.elements_out() + (long long)col * channels + channel;
      Element* pixels = dx + image * window.elements_in() + channel;
      for_each_down((rows + STEPS - 1) / STEPS, [&](int strip) {
        const int row = first_row + strip * STEPS;
        Values sums[STEPS][STRIDE][STRIDE] = {};
#pragma unroll
        for (int h = SPAN - 1; h >= 0; h--) {
          const int oh = row - BEFORE + h;
          const bool is_line = unsigned(oh) < unsigned(window.out_height);
          const long long line = outputs + (long long)oh * window.out_width * channels;
#pragma unroll
          for (int v = BEFORE; v >= 0; v--) {
            const bool inside = is_line && unsigned(col - BEFORE + v) < unsigned(window.out_width);
            const auto item = slopes.item_if(inside, line - (BEFORE - v) * channels);
#pragma unroll
            for (int s = 0; s < STEPS; s++)
#pragma unroll
              for (int i = 0; i < STRIDE * STRIDE; i++) {
                const int kh = (s + BEFORE - h) * STRIDE + i / STRIDE, kw = (BEFORE - v) * STRIDE + i % STRIDE;
                if (kh >= 0 && kh < KERNEL && kw < KERNEL)
                  slopes.add(sums[s][i / STRIDE][i % STRIDE], kh * KERNEL + kw, item);
              }
          }
        }
#pragma unroll
        for (int s = 0; s < STEPS; s++)
#pragma unroll
          for (int i = 0; i < STRIDE * STRIDE; i++) {
            const int h = (row + s) * STRIDE + i / STRIDE - window.padding[0];
            const int w = col * STRIDE + i % STRIDE - window.padding[1];
            if (unsigned(h) < unsigned(window.height) && unsigned(w) < unsigned(window.width))
              store<PIECE>(pixels + ((long long)h * window.width + w) * channels,
                           scaled(sums[s][i / STRIDE][i % STRIDE], slopes.part), PIECE, true);
          }
      });
    });
  });
}

// Pools by windows of any size and stride: a thread finds its place in an image once, by divisions that are
// multiplications, and takes it in image after image.
#pragma once
#include "convolutions/pool.cuh"

// The pixels of an image under the output at `at`.
struct Seen {
  int start[2], stop[2];  // the taps that are inside of the image
  long long first;        // offset of the piece under the first of them
  __device__ __forceinline__ Seen(const Window& window, const Window::Place& at) : first(at.channel) {
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
};

template <class State>
__device__ __forceinline__ void pool(const Element* x, const typename State::To& to, const Window& window) {
  const bool aligned = rows_aligned<PIECE>(x, window.channels) && to.aligned(window.channels);
  const long long across = (long long)window.width * window.channels;
  for_each_across(window.pixels_out() * window.pieces(), [&](int i) {
    const auto at = window.place(i, window.by_out_width);
    const Seen seen(window, at);
    const int count = window.channels - at.channel;
    for_each_down(window.images, [&](int image) {
      State state = State::line(0, {everywhere(State::outside())});
      const Element* line = x + image * window.elements_in() + seen.first;
      for (int kh = seen.start[0]; kh < seen.stop[0]; kh++, line += across) {
        const Element* pixel = line;
        for (int kw = seen.start[1]; kw < seen.stop[1]; kw++, pixel += window.channels)
          state.take(State::line(kh * window.kernel[1] + kw, {values_at(pixel, count, aligned)}));
      }
      state.write(to, image * window.elements_out() + at.offset, count, aligned);
    });
  });
}

// Each pixel gathers from the outputs that see it, in the order of the taps.
template <class Slopes>
__device__ __forceinline__ void pool_dx(const Slopes& slopes, Element* dx, const Window& window) {
  const bool aligned = rows_aligned<PIECE>(dx, window.channels) && slopes.aligned(window.channels);
  const long long across = (long long)window.out_width * window.channels;
  for_each_across(window.pixels_in() * window.pieces(), [&](int i) {
    const auto at = window.place(i, window.by_width);
    const auto rows = window.seers(0, at.row, window.out_height), cols = window.seers(1, at.col, window.out_width);
    const long long first = ((long long)rows.out * window.out_width + cols.out) * window.channels + at.channel;
    const int count = window.channels - at.channel;
    for_each_down(window.images, [&](int image) {
      Values sum = {};
      long long line = image * window.elements_out() + first;
      for (int kh = rows.tap, oh = rows.out; kh < window.kernel[0] && oh >= 0;
           kh += window.tap_step[0], oh -= 1, line -= across) {
        long long place = line;
        for (int kw = cols.tap, ow = cols.out; kw < window.kernel[1] && ow >= 0;
             kw += window.tap_step[1], ow -= 1, place -= window.channels)
          slopes.add(sum, kh * window.kernel[1] + kw, slopes.item(place, count, aligned));
      }
      store<PIECE>(dx + image * window.elements_in() + at.offset, scaled(sum, slopes.part), count, aligned);
    });
  });
}

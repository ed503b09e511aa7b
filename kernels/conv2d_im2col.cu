// Convolution as a matrix product: gather the pixels under each output into a row, and add rows back to pixels
// Shapes: x, dx (N, H, W, C), columns (groups, N OH OW, KH KW C / groups) of Element; window by value
// Launch: block 256, any grid; a thread per element of columns (of dx), so neighbors are channels
// Roofline: reads each pixel KH KW times, mostly from cache, writes columns once; memory-bound.
// Oracle: ops/conv2d_im2col.py. Source: Chellapilla et al. 2006, "High performance convolutional neural networks".
//
// With w (KH, KW, C / G, O): y = columns w + b and dw = columns^T dy, a batch of G products (w, y, dy: batch stride
// O / G, leading dim O); dcolumns = dy w^T, then col2im.
//
// col2im gathers too: each pixel adds up its entries in the windows that cover it, in the order of the taps, without
// atomics.
#include "common/elements.cuh"
#include "common/window.cuh"

extern "C" __global__ void im2col(const Element* x, Element* columns, const Window window, int groups) {
  const int depth = window.channels / groups, taps = window.kernel[0] * window.kernel[1];
  const long long rows = window.pixels_out(), n = rows * taps * window.channels;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x) {
    const int channel = int(i % depth), tap = int(i / depth % taps);
    const long long row = i / depth / taps % rows, group = i / depth / taps / rows;
    const long long pixel = window.seen(row, tap / window.kernel[1], tap % window.kernel[1]);
    columns[i] = pixel < 0 ? Convert<Element>::from(0) : x[pixel * window.channels + group * depth + channel];
  }
}

extern "C" __global__ void col2im(const Element* columns, Element* dx, const Window window, int groups) {
  const int depth = window.channels / groups, taps = window.kernel[0] * window.kernel[1];
  const long long rows = window.pixels_out(), n = window.pixels_in() * window.channels;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x) {
    const int channel = int(i % window.channels);
    const long long pixel = i / window.channels, group = channel / depth;
    float sum = 0;
    for (int tap = 0; tap < taps; tap++) {
      const long long row = window.seer(pixel, tap / window.kernel[1], tap % window.kernel[1]);
      if (row >= 0) sum += to_float(columns[((group * rows + row) * taps + tap) * depth + channel % depth]);
    }
    dx[i] = Convert<Element>::from(sum);
  }
}

// Pools over images: the largest or the mean value under each window, and the gradients
// Shapes: x, dx (N, H, W, C), y, dy (N, OH, OW, C) of Element, argmax (N, OH, OW, C) of ARGMAX_BITS (8 or 16);
//     window by value, see common/window.cuh (dilation 1). Global: x (N, P, C), y (N, C).
// Launch: block 256, any grid; a thread per element, so neighbors are channels
// Roofline: one read of x (of argmax and dy), one write of y (dx); memory-bound. Oracle: ops/pool.py.
//
// Padded pixels never win, and count as zeros of a mean. argmax is the number of the first tap with the maximum.
// With a ReLU (relu 1) 0 takes part and has no tap: where no tap is above it, argmax is KH KW, and no pixel gets dy.
// Gradients are gathered: each pixel of dx reads the windows that cover it, so there are no atomics.
#include "common/elements.cuh"
#include "common/window.cuh"

#ifndef ARGMAX_BITS
#define ARGMAX_BITS 8
#endif
#if ARGMAX_BITS == 8
using Argmax = unsigned char;
#else
using Argmax = unsigned short;
#endif

template <class Body>
__device__ __forceinline__ void for_each(long long n, Body body) {
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)
    body(i);
}

// argmax may be null.
extern "C" __global__ void max_pool(const Element* x, Element* y, Argmax* argmax, int relu, const Window window) {
  for_each(window.pixels_out() * window.channels, [&](long long i) {
    const long long at = i / window.channels, channel = i % window.channels;
    float largest = relu ? 0 : float_from_bits(0xFF800000);  // minus infinity
    int first = relu ? window.kernel[0] * window.kernel[1] : 0;
    for (int kh = 0; kh < window.kernel[0]; kh++)
      for (int kw = 0; kw < window.kernel[1]; kw++) {
        const long long pixel = window.seen(at, kh, kw);
        if (pixel < 0) continue;
        const float value = to_float(x[pixel * window.channels + channel]);
        if (value > largest) first = kh * window.kernel[1] + kw;
        if (value > largest || value != value) largest = value;  // NaN stays
      }
    y[i] = Convert<Element>::from(largest);
    if (argmax) argmax[i] = Argmax(first);
  });
}

extern "C" __global__ void max_pool_dx(const Argmax* argmax, const Element* dy, Element* dx, const Window window) {
  for_each(window.pixels_in() * window.channels, [&](long long i) {
    const long long at = i / window.channels, channel = i % window.channels;
    float sum = 0;
    for (int kh = 0; kh < window.kernel[0]; kh++)
      for (int kw = 0; kw < window.kernel[1]; kw++) {
        const long long pixel = window.seer(at, kh, kw) * window.channels + channel;
        if (pixel >= 0 && argmax[pixel] == kh * window.kernel[1] + kw) sum += to_float(dy[pixel]);
      }
    dx[i] = Convert<Element>::from(sum);
  });
}

extern "C" __global__ void mean_pool(const Element* x, Element* y, const Window window) {
  for_each(window.pixels_out() * window.channels, [&](long long i) {
    float sum = 0;
    for (int kh = 0; kh < window.kernel[0]; kh++)
      for (int kw = 0; kw < window.kernel[1]; kw++) {
        const long long pixel = window.seen(i / window.channels, kh, kw);
        if (pixel >= 0) sum += to_float(x[pixel * window.channels + i % window.channels]);
      }
    y[i] = Convert<Element>::from(sum / (window.kernel[0] * window.kernel[1]));
  });
}

extern "C" __global__ void mean_pool_dx(const Element* dy, Element* dx, const Window window) {
  for_each(window.pixels_in() * window.channels, [&](long long i) {
    float sum = 0;
    for (int kh = 0; kh < window.kernel[0]; kh++)
      for (int kw = 0; kw < window.kernel[1]; kw++) {
        const long long pixel = window.seer(i / window.channels, kh, kw);
        if (pixel >= 0) sum += to_float(dy[pixel * window.channels + i % window.channels]);
      }
    dx[i] = Convert<Element>::from(sum / (window.kernel[0] * window.kernel[1]));
  });
}

extern "C" __global__ void global_mean(const Element* x, Element* y, int images, int pixels, int channels) {
  for_each((long long)images * channels, [&](long long i) {
    const Element* from = x + i / channels * pixels * channels + i % channels;
    float sum = 0;
    for (int p = 0; p < pixels; p++) sum += to_float(from[(long long)p * channels]);
    y[i] = Convert<Element>::from(sum / pixels);
  });
}

extern "C" __global__ void global_mean_dx(const Element* dy, Element* dx, int images, int pixels, int channels) {
  for_each((long long)images * pixels * channels, [&](long long i) {
    const long long image = i / channels / pixels;
    dx[i] = Convert<Element>::from(to_float(dy[image * channels + i % channels]) / pixels);
  });
}

// The window that convolutions and pools slide over images: x (N, H, W, C), y (N, OH, OW, C). Fields are of 32 bits, in
// this order; vertical before horizontal. See ops/window.py; the record is made by ops/cuda/launch.py.
#pragma once
#include "common/divide.cuh"
#include "common/elements.cuh"

struct Window {
  int images, height, width, channels;
  int out_height, out_width;
  int kernel[2], stride[2], padding[2], dilation[2];
  int groups, depth;              // depth: channels of a group
  int tap_step[2], out_step[2];   // stride / f and dilation / f, f their greatest common divisor
  FastDivide by_pieces;           // pieces of PIECE channels in a group, the last of which may be less
  FastDivide by_width, by_out_width, by_taps, by_kernel_width, by_stride[2];

  // The place of piece i of an image whose rows are by.divisor pixels wide; offset: of its first channel in the image.
  struct Place {
    int row, col, channel;
    long long offset;
  };
  __device__ __forceinline__ Place place(int i, const FastDivide& by) const {
    const auto pixel = by_pieces(i), line = by(pixel.quotient);
    const int channel = pixel.remainder * PIECE;
    return {line.quotient, line.remainder, channel, (long long)pixel.quotient * channels + channel};
  }

  // The first pixel that output `out` sees, padding counted.
  __device__ __forceinline__ int first_seen(int dim, int out) const { return out * stride[dim] - padding[dim]; }

  // The outputs that see pixel `at`: `out` by `tap`, then out - out_step by tap + tap_step and so on, while the tap is
  // below `kernel` and the output not below 0.
  struct Seers {
    int tap, out;
  };
  __device__ __forceinline__ Seers seers(int dim, int at, int num_outputs) const {
    int rest = at + padding[dim], tap = 0;  // = out stride + tap dilation
    while (tap < tap_step[dim] && rest >= 0 && by_stride[dim](rest).remainder > 0) {
      tap++;
      rest -= dilation[dim];
    }
    if (tap == tap_step[dim] || rest < 0) return {0, -1};  // none: the window steps over this pixel
    int out = by_stride[dim].quotient(rest);
    while (out >= num_outputs) {
      tap += tap_step[dim];
      out -= out_step[dim];
    }
    return {tap, out};
  }

  __device__ __forceinline__ int taps() const { return kernel[0] * kernel[1]; }
  __device__ __forceinline__ int pieces() const { return int(by_pieces.divisor); }

  // Of one image.
  __device__ __forceinline__ int pixels_in() const { return height * width; }
  __device__ __forceinline__ int pixels_out() const { return out_height * out_width; }
  __device__ __forceinline__ long long elements_in() const { return (long long)pixels_in() * channels; }
  __device__ __forceinline__ long long elements_out() const { return (long long)pixels_out() * channels; }
};

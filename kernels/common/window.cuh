// The window that convolutions and pools slide over images: x (N, H, W, C), y (N, OH, OW, C). Fields are int32, in this
// order; vertical before horizontal. See ops/window.py.
#pragma once

struct Window {
  int images, height, width, channels;
  int out_height, out_width;
  int kernel[2], stride[2], padding[2], dilation[2];

  // The pixel of x (its number, without the channel) that tap (kh, kw) sees from output pixel `at`; -1 outside.
  __device__ __forceinline__ long long seen(long long at, int kh, int kw) const {
    const int ow = int(at % out_width), oh = int(at / out_width % out_height);
    const int h = oh * stride[0] - padding[0] + kh * dilation[0], w = ow * stride[1] - padding[1] + kw * dilation[1];
    if (h < 0 || h >= height || w < 0 || w >= width) return -1;
    return (at / out_width / out_height * height + h) * width + w;
  }

  // The output pixel whose tap (kh, kw) is pixel `at` of x; -1 if there is none.
  __device__ __forceinline__ long long seer(long long at, int kh, int kw) const {
    const int w = int(at % width) + padding[1] - kw * dilation[1];
    const int h = int(at / width % height) + padding[0] - kh * dilation[0];
    if (h < 0 || w < 0 || h % stride[0] || w % stride[1]) return -1;
    if (h / stride[0] >= out_height || w / stride[1] >= out_width) return -1;
    return (at / width / height * out_height + h / stride[0]) * out_width + w / stride[1];
  }

  __device__ __forceinline__ long long pixels_in() const { return (long long)images * height * width; }
  __device__ __forceinline__ long long pixels_out() const { return (long long)images * out_height * out_width; }
};

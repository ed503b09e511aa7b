// Pools over images: the largest or the mean value under each window, and the gradients
// Shapes: x, dx (N, H, W, C), y, dy (N, OH, OW, C) of Element, argmax (N, OH, OW, C) of ARGMAX_BITS (8 or 16);
//     window by value, see convolutions/window.cuh (dilation 1, one group). Global: x (N, P, C), y (N, C).
//     part: 1 / (KH KW), or 1 / P
// Types: KERNEL 2 or 3: square windows of that size, STRIDE apart, channels in whole aligned pieces; 0: any.
// Launch: KERNEL 0: across: pieces of an image of what is written; down: images. Else convolutions/pool_strips.cuh
// Roofline: one read of x (of argmax and dy), one write of y (dx); memory-bound. Oracle: ops/pool.py.
// Has not run on a GPU.
//
// Padded pixels never win, and count as zeros of a mean. argmax is the number of the first tap with the maximum.
// With a ReLU (relu 1) 0 takes part and has no tap: where no tap is above it, argmax is KH KW, and no pixel gets dy.
// Gradients are gathered: each pixel of dx reads the windows that cover it, so there are no atomics.
#ifndef KERNEL
#define KERNEL 0
#endif
#ifndef STRIDE
#define STRIDE 1
#endif
#include "reductions/columns.cuh"
#include "convolutions/pool.cuh"
#if KERNEL > 0
#include "convolutions/pool_strips.cuh"
#else
#include "convolutions/pool_any.cuh"
#endif

// argmax may be null.
extern "C" __global__ void __launch_bounds__(256)
max_pool(const Element* x, Element* y, Argmax* argmax, int relu, const Window window) {
  pool<Largest>(x, {y, argmax, relu, window.taps()}, window);
}

extern "C" __global__ void __launch_bounds__(256)
max_pool_dx(const Argmax* argmax, const Element* dy, Element* dx, const Window window) {
  pool_dx(LargestSlopes{argmax, dy}, dx, window);
}

extern "C" __global__ void __launch_bounds__(256)
mean_pool(const Element* x, Element* y, float part, const Window window) {
  pool<Mean>(x, {y, part}, window);
}

extern "C" __global__ void __launch_bounds__(256)
mean_pool_dx(const Element* dy, Element* dx, float part, const Window window) {
  pool_dx(MeanSlopes{dy, part}, dx, window);
}

// Block: 256 at 32 pieces of channels, as sums down the columns of each image. Grid: (blocks of channels, images)
extern "C" __global__ void __launch_bounds__(256)
global_mean(const Element* x, Element* y, float part, int images, int pixels, int channels) {
  __shared__ Sums<1> parts[COLUMN_WARPS][32];
  const Columns columns(pixels, channels, pixels, 0);
  const bool aligned = rows_aligned<PIECE>(y, channels);
  for (int image = blockIdx.y; image < images; image += gridDim.y) {
    const Element* pixels_of = x + (long long)image * pixels * channels;
    const Sums<1> sum = fold(sum_of_rows(pixels_of, channels, channels, columns), columns, parts);
    if (int(threadIdx.x) < columns.across) {
      Values mean;
#pragma unroll
      for (int j = 0; j < PIECE; j++) mean.at[j] = sum.at[0][j] * part;
      store<PIECE>(y + (long long)image * channels + columns.first, Rounded<Element>::from(mean),
                   channels - columns.first, aligned);
    }
    __syncthreads();
  }
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
      const auto mean = apply<Element>([=](float x) { return x * part; }, slope);
      store<PIECE>(dx + ((long long)image * pixels + at.quotient) * channels + channel, mean, count, aligned);
    });
  });
}

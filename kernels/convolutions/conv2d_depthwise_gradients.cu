// Depthwise convolution: dx with any stride, and dw
// Shapes: x, dx (N, H, W, C), dy (N, OH, OW, C) of Element; w (KH, KW, 1, C), partials (parts, KH KW, C) float;
//     window by value
// Types: KERNEL 3 or 5 (dw): square filters of that size with a stride of 1, no dilation, and channels in whole aligned
//     pieces; 0: any
// Launch: conv2d_depthwise_dx: across: pieces of 4 channels of an image of dx; down: images (common/elements.cuh).
//     conv2d_depthwise_dw: grid (columns of pieces, parts, ceil(KH KW / TAPS)), block (pieces, 256 / pieces); an
//     image has by_strips.divisor strips of `height` lines; then sum_rows of reduce.cu adds the parts, in order
// Roofline: dx reads dy and writes dx once, dw reads x and dy once for each TAPS taps; memory-bound.
// Oracle: ops/conv2d_depthwise.py. Source: Howard et al. 2017, "MobileNets". It has not run on a GPU.
#ifndef KERNEL
#define KERNEL 0
#endif
#ifndef ELEMENT_BF16
#define ELEMENT_BF16 0
#endif
#if KERNEL == 5 && !ELEMENT_BF16
#define ELEMENT_PIECE 2  // 25 sums for each channel, and what is loaded ahead, are to fit into registers
#endif
#include "convolutions/depthwise.cuh"

#define TAPS (KERNEL > 0 ? KERNEL * KERNEL : 9)
#define THREADS 256

// Each pixel gathers from the outputs that see it, in the order of the taps.
extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_depthwise_dx(const Element* dy, const float* w, Element* dx, const Window window) {
  const int channels = window.channels;
  const bool aligned = rows_aligned<PIECE>(dy, channels) && rows_aligned<PIECE>(dx, channels);
  const bool w_aligned = rows_aligned<PIECE>(w, channels);
  for_each_across(window.pixels_in() * window.pieces(), [&](int item) {
    const auto at = window.place(item, window.by_width);
    const auto rows = window.seers(0, at.row, window.out_height), cols = window.seers(1, at.col, window.out_width);
    const int count = channels - at.channel;
    for_each_down(window.images, [&](int image) {
      const Element* seers = dy + image * window.elements_out() + at.channel;
      Sum sum = {};
      for (int kh = rows.tap, oh = rows.out; kh < window.kernel[0] && oh >= 0;
           kh += window.tap_step[0], oh -= window.out_step[0])
        for (int kw = cols.tap, ow = cols.out; kw < window.kernel[1] && ow >= 0;
             kw += window.tap_step[1], ow -= window.out_step[1]) {
          const long long from = ((long long)oh * window.out_width + ow) * channels;
          const long long tap = kh * window.kernel[1] + kw;
          add_product(sum, seen<false>(seers + from, true, count, aligned),
                      load<PIECE>(w + tap * channels + at.channel, count, w_aligned));
        }
      store<PIECE>(dx + at.offset + image * window.elements_in(), rounded(sum), count, aligned);
    });
  });
}

#if KERNEL > 0

// The same where all bounds of loops are known. A thread walks down a column of dy, and keeps its last KERNEL pixels: a
// pixel of x meets them all, and is loaded once for each tap of a line.
template <bool>
__device__ __forceinline__ void sum_parts(Sum (&sums)[TAPS], const Element* x, const Element* dy, const Window& window,
                                          const FastDivide& by_strips, int height, int, bool) {
  const int channels = window.channels;
  const long long across = (long long)window.width * channels, out_across = (long long)window.out_width * channels;
  for (int part = blockIdx.y; part < window.images * int(by_strips.divisor); part += gridDim.y) {
    const auto at = by_strips(part);  // image, strip
    const int first = at.remainder * height, lines = min(height, window.out_height - first);
    const int top = first - window.padding[0];
    for (int ow = threadIdx.y; ow < window.out_width; ow += blockDim.y) {
      const int left = ow - window.padding[1];
      const Element* pixels = x + at.quotient * window.elements_in() + (long long)left * channels;
      const Element* outputs = dy + at.quotient * window.elements_out() + first * out_across + (long long)ow * channels;
      Sum slopes[KERNEL] = {};  // line l of this strip is at l % KERNEL
#pragma unroll 1
      for (int turn = 0; turn < lines + KERNEL - 1; turn += KERNEL) {
#pragma unroll
        for (int i = 0; i < KERNEL; i++) {
          const int line = turn + i, row = top + line;
          slopes[i] = seen<true>(outputs + line * out_across, line < lines, PIECE, true);
          const bool is_line = unsigned(row) < unsigned(window.height) && line < lines + KERNEL - 1;
#pragma unroll
          for (int kw = 0; kw < KERNEL; kw++) {
            const bool inside = is_line && unsigned(left + kw) < unsigned(window.width);
            const Sum pixel = seen<true>(pixels + row * across + kw * channels, inside, PIECE, true);
#pragma unroll
            for (int kh = 0; kh < KERNEL; kh++)
              add_product(sums[kh * KERNEL + kw], pixel, slopes[(i - kh + KERNEL) % KERNEL]);
          }
        }
      }
    }
  }
}

#else

// The taps whose sums a thread has, as far as they are from the first of a window.
struct Taps {
  int h[TAPS], w[TAPS];
  __device__ __forceinline__ Taps(const Window& window, int first) {
#pragma unroll
    for (int t = 0; t < TAPS; t++) {
      const auto tap = window.by_kernel_width(min(first + t, window.taps() - 1));  // the last again: nobody looks at it
      h[t] = tap.quotient * window.dilation[0];
      w[t] = tap.remainder * window.dilation[1];
    }
  }
};

// sums += the products of every blockDim.y-th pixel of the block's parts, of which each is `height` lines of an image.
template <bool WHOLE>
__device__ __forceinline__ void sum_parts(Sum (&sums)[TAPS], const Element* x, const Element* dy, const Window& window,
                                          const FastDivide& by_strips, int height, int count, bool aligned) {
  const Taps taps(window, blockIdx.z * TAPS);
  const int channels = window.channels;
  for (int part = blockIdx.y; part < window.images * int(by_strips.divisor); part += gridDim.y) {
    const auto at = by_strips(part);  // image, strip
    const int first = at.remainder * height;
    const Element* pixels = x + at.quotient * window.elements_in();
    const Element* outputs = dy + at.quotient * window.elements_out();
    for (int oh = first; oh < min(first + height, window.out_height); oh++) {
      const int h = window.first_seen(0, oh);
      for (int ow = threadIdx.y; ow < window.out_width; ow += blockDim.y) {
        const int v = window.first_seen(1, ow);
        const long long place = ((long long)oh * window.out_width + ow) * channels;
        const Sum slope = seen<WHOLE>(outputs + place, true, count, aligned);
#pragma unroll
        for (int t = 0; t < TAPS; t++) {
          const int row = h + taps.h[t], col = v + taps.w[t];
          const bool inside = unsigned(row) < unsigned(window.height) && unsigned(col) < unsigned(window.width);
          const long long from = inside ? ((long long)row * window.width + col) * channels : 0;
          add_product(sums[t], seen<WHOLE>(pixels + from, inside, count, aligned), slope);
        }
      }
    }
  }
}

#endif

// A block sums TAPS taps of its channels over its parts, and adds up its threads in order.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
conv2d_depthwise_dw(const Element* x, const Element* dy, float* partials, const Window window,
                    const FastDivide by_strips, int height) {
  __shared__ Sum shared[THREADS];
  const int channels = window.channels, num_taps = window.taps(), first_tap = blockIdx.z * TAPS;
  const int channel = (blockIdx.x * blockDim.x + threadIdx.x) * PIECE, count = channels - channel;
  [[maybe_unused]] const bool aligned = rows_aligned<PIECE>(x, channels) && rows_aligned<PIECE>(dy, channels);
  Sum sums[TAPS] = {};
  if (KERNEL > 0 ? count > 0 : aligned && count >= PIECE)
    sum_parts<true>(sums, x + channel, dy + channel, window, by_strips, height, count, true);
  else if constexpr (KERNEL == 0)
    sum_parts<false>(sums, x + channel, dy + channel, window, by_strips, height, count, aligned);
#pragma unroll
  for (int t = 0; t < TAPS; t++) {
    shared[threadIdx.y * blockDim.x + threadIdx.x] = sums[t];
    __syncthreads();
    if (threadIdx.y == 0 && first_tap + t < num_taps) {
      Sum sum = {};
      for (unsigned i = 0; i < blockDim.y; i++)
        sum = apply<float>([](float a, float b) { return a + b; }, sum, shared[i * blockDim.x + threadIdx.x]);
      store<PIECE>(partials + ((long long)blockIdx.y * num_taps + first_tap + t) * channels + channel, sum, count,
                   rows_aligned<PIECE>(partials, channels));
    }
    __syncthreads();
  }
}

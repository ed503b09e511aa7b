// Convolution as a matrix product: gather the pixels under each output into a row, and add rows back to pixels
// Shapes: x, dx (N, H, W, C), columns (groups, N OH OW, KH KW C / groups) of Element; window by value
// Launch: across: pieces of 4 channels of a group, of all columns (of all pixels) of an image; down: images; layers:
//     groups (common/elements.cuh); fewer threads of any shape do, in loops
// Roofline: reads each pixel KH KW times, mostly from cache, writes columns once; memory-bound.
// Oracle: ops/conv2d_im2col.py. Source: Chellapilla et al. 2006, "High performance convolutional neural networks".
//
// With w (KH, KW, C / G, O): y = columns w + b and dw = columns^T dy, a batch of G products (w, y, dy: batch stride
// O / G, leading dim O); dcolumns = dy w^T, then col2im.
//
// A thread finds its place in an image once, by divisions that are multiplications, and takes it in image after image.
// col2im gathers too: each pixel adds up its entries in the windows that cover it, in the order of the taps, without
// atomics.
#include "convolutions/window.cuh"

extern "C" __global__ void __launch_bounds__(256)
im2col(const Element* x, Element* columns, const Window window) {
  const int depth = window.depth, taps = window.taps(), pixels = window.pixels_out();
  const bool aligned = rows_aligned<PIECE>(x, depth) && rows_aligned<PIECE>(columns, depth);
  const long long image_in = window.elements_in(), image_out = (long long)pixels * taps * depth;
  for_each_across(pixels * taps * window.pieces(), [&](int i) {
    const auto piece = window.by_pieces(i), row = window.by_taps(piece.quotient);
    const auto at = window.by_out_width(row.quotient), tap = window.by_kernel_width(row.remainder);
    const int channel = piece.remainder * PIECE, count = depth - channel;
    const int h = window.first_seen(0, at.quotient) + tap.quotient * window.dilation[0];
    const int w = window.first_seen(1, at.remainder) + tap.remainder * window.dilation[1];
    const bool inside = h >= 0 && h < window.height && w >= 0 && w < window.width;
    const long long from = inside ? ((long long)h * window.width + w) * window.channels + channel : 0;
    const long long to = (long long)piece.quotient * depth + channel;
    for_each_layer(window.groups, [&](int group) {
      const Element* pixel = x + from + group * depth;
      Element* column = columns + to + group * image_out * window.images;
      for_each_down(window.images, [&](int image) {
        const auto seen = load<PIECE>(pixel + image * image_in, inside ? count : 0, aligned);
        store<PIECE>(column + image * image_out, seen, count, aligned);
      });
    });
  });
}

extern "C" __global__ void __launch_bounds__(256)
col2im(const Element* columns, Element* dx, const Window window) {
  const int depth = window.depth, taps = window.taps(), pixels = window.pixels_out();
  const bool aligned = rows_aligned<PIECE>(columns, depth) && rows_aligned<PIECE>(dx, depth);
  const long long image_in = window.elements_in(), image_out = (long long)pixels * taps * depth;
  // from one tap, and from one row of taps, to the next that sees the same pixel
  const long long next = ((long long)window.tap_step[1] - (long long)window.out_step[1] * taps) * depth;
  const long long next_row = ((long long)window.tap_step[0] * window.kernel[1] -
                              (long long)window.out_step[0] * window.out_width * taps) * depth;
  for_each_across(window.pixels_in() * window.pieces(), [&](int i) {
    const auto at = window.place(i, window.by_width);
    const auto rows = window.seers(0, at.row, window.out_height), cols = window.seers(1, at.col, window.out_width);
    const int count = depth - at.channel;
    const long long first = ((long long)rows.out * window.out_width + cols.out) * taps +
                            rows.tap * window.kernel[1] + cols.tap;
    for_each_layer(window.groups, [&](int group) {
      const Element* column = columns + first * depth + at.channel + group * image_out * window.images;
      Element* pixel = dx + at.offset + group * depth;
      for_each_down(window.images, [&](int image) {
        Vec<float, PIECE> sum = {};
        const Element* line = column + image * image_out;
        for (int kh = rows.tap, oh = rows.out; kh < window.kernel[0] && oh >= 0;
             kh += window.tap_step[0], oh -= window.out_step[0], line += next_row) {
          const Element* from = line;
          for (int kw = cols.tap, ow = cols.out; kw < window.kernel[1] && ow >= 0;
               kw += window.tap_step[1], ow -= window.out_step[1], from += next)
            sum = apply<float>([](float a, float b) { return a + b; }, sum, load<PIECE>(from, count, aligned));
        }
        store<PIECE>(pixel + image * image_in, apply<Element>([](float a) { return a; }, sum), count, aligned);
      });
    });
  });
}

// The arguments of every convolution (NHWC): a product per group whose factor A is gathered from images, never stored.
//     out = epilogue(alpha A B + beta C), see gemm.cuh and epilogue.cuh; the batch are the groups
//     forward, CONVOLUTION 0   y (N OH OW, O) = A(x) w: a row for each output, a column for each tap and channel
//     dx, 1                    dx (N H W, C) = A(dy) w^T: a row for each pixel, a column for each tap that reaches it
//                              and channel of dy; w is read where it lies
//     dw, 2                    dw (KH KW C, O) = A(x)^T dy: summed over N OH OW
// x (N, H, W, C), w (KH, KW, C / G, O), y and dy (N, OH, OW, O). The residual of a block is C with beta 1.
//
// With a stride s, a pixel of dx is reached by every s-th tap only, and which ones depends on its place modulo s. So
// pixels are sorted in classes, s in each direction, and each class is a dense product of its own. A launch has one or
// two classes in each direction. blockIdx.z is class * groups + group. The record is made by
// mpitrain/kernels/convolution.py.
#pragma once
#define CONVOLUTION_FORWARD 0
#define CONVOLUTION_DX 1
#define CONVOLUTION_DW 2
#ifndef CONVOLUTION
#define CONVOLUTION CONVOLUTION_FORWARD
#endif
static_assert(CONVOLUTION >= CONVOLUTION_FORWARD && CONVOLUTION <= CONVOLUTION_DW, "no such convolution");
// How A and B are stored, or gathered: A as (M, K) but for dw, B as (K, N) but for dx.
#define TRANSPOSE_A (CONVOLUTION == CONVOLUTION_DW)
#define TRANSPOSE_B (CONVOLUTION == CONVOLUTION_DX)
#include "common/divide.cuh"
#include "products/gemm.cuh"

// One direction of one class: `positions` rows (or columns) of the images whose pixels are rows of A. From position i,
// tap t of its `taps` sees pixel i * scale + first + t * step of the gathered image; it is number first_tap + t *
// tap_step of the kernel. Position i is pixel first_place + i * place_step of out's image.
struct Axis {
  int positions;
  int scale, first, step;
  int taps, first_tap, tap_step;
  int first_place, place_step;
  FastDivide by_positions, by_taps;  // by 1 where there are no taps
};

template <class Input, class Output>
struct Convolution {
  // a: the gathered images; b: w, or dy for dw; batches are the distances of groups in a pixel (or in a row of w). m and
  // k are those of the largest class (for gemm_sum). b_ld: O.
  Gemm<Input, Output> gemm;
  Axis axes[2][2];            // vertical, horizontal; classes
  int classes[2];             // 1 or 2
  int images;
  int height, width;          // of the gathered images
  int channels, depth;        // of a pixel of them, and of a group
  int out_height, out_width;  // of the images of out, for forward and dx
  int kernel_width;           // taps in a row of w
  FastDivide by_depth;
};

// What a block works on: a group of a class.
struct Class {
  const Axis &rows, &cols;
  int group;
  int m, k;  // of its product
};

template <class Input, class Output>
__device__ __forceinline__ Class class_of(const Convolution<Input, Output>& conv, int number) {
  const int groups = conv.gemm.batch, which = number / groups, wide = conv.classes[1];
  const Axis &rows = conv.axes[0][which / wide], &cols = conv.axes[1][which % wide];
  const int positions = conv.images * rows.positions * cols.positions, steps = rows.taps * cols.taps * conv.depth;
  const bool swapped = CONVOLUTION == CONVOLUTION_DW;
  return {rows, cols, number % groups, swapped ? steps : positions, swapped ? positions : steps};
}

// The product of a class, as the epilogue takes it; bias is that of all groups.
template <class Input, class Output>
__device__ __forceinline__ Gemm<Input, Output> product_of(const Convolution<Input, Output>& conv, const Class& part) {
  Gemm<Input, Output> gemm = conv.gemm;
  gemm.m = part.m;
  gemm.k = part.k;
  if (gemm.bias) gemm.bias += part.group * gemm.n;
  return gemm;
}

// Where the rows of a class lie in out's images.
template <class Input, class Output>
struct PlacesInOut {
  const Convolution<Input, Output>& conv;
  const Class& part;
  __device__ __forceinline__ int operator()(int row) const {
    const auto line = part.cols.by_positions(row), at = part.rows.by_positions(line.quotient);
    const int h = part.rows.first_place + at.remainder * part.rows.place_step;
    const int w = part.cols.first_place + line.remainder * part.cols.place_step;
    return (at.quotient * conv.out_height + h) * conv.out_width + w;
  }
};
#if __SIZEOF_POINTER__ == 8
static_assert(sizeof(Axis) == 60, "the layout that launches are planned for");
static_assert(sizeof(Convolution<float, float>) == 440, "the same");
#endif

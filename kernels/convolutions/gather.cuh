// The factors of a convolution as loaders see them: an element is that of a row at a step, where the row is a place in
// images or filters, the step a tap and a channel. Its address is the sum of two parts, one for each; so is its pixel,
// which may be outside of the image: then the element is 0. What depends on one of the two alone is computed once where
// it stays, and by two divisions (divide.cuh) where it moves with k.
#pragma once
#include "convolutions/convolution.cuh"

constexpr int OUTSIDE = -(1 << 30);  // no image has such a pixel, nor one so far from any other

template <class T>
struct Place {
  const T* from;
  int h, w;
};
struct Step {
  int elements, h, w;
};

// The gathered images. Rows are positions of a class, in all images; columns are the taps and channels of a group. Rows
// from num_rows on, and columns from num_cols on, are 0: without a branch, their address is nobody's.
template <class Input, class Output>
struct Pixels {
  const Convolution<Input, Output>& conv;
  const Class& part;
  const Input* images;
  int num_rows, num_cols;

  __device__ __forceinline__ Place<Input> place(int row) const {
    const auto line = part.cols.by_positions(row), at = part.rows.by_positions(line.quotient);
    const int h = at.remainder * part.rows.scale + part.rows.first;
    const int w = line.remainder * part.cols.scale + part.cols.first;
    const long long image = (long long)at.quotient * (conv.height * conv.width * conv.channels);
    return {images + image + (h * conv.width + w) * conv.channels, row < num_rows ? h : OUTSIDE, w};
  }
  __device__ __forceinline__ Step step(int col) const {
    const auto tap = conv.by_depth(col), at = part.cols.by_taps(tap.quotient);
    const int h = at.quotient * part.rows.step, w = at.remainder * part.cols.step;
    return {(h * conv.width + w) * conv.channels + tap.remainder, col < num_cols ? h : OUTSIDE, w};
  }
  __device__ __forceinline__ bool holds(const Place<Input>& place, const Step& step) const {
    return unsigned(place.h + step.h) < unsigned(conv.height) && unsigned(place.w + step.w) < unsigned(conv.width);
  }
};

// w as dx reads it: rows are channels of x, of a group; columns the taps of a class and the channels of dy. Rows beyond
// the last repeat it: nobody looks at their sums.
template <class Input, class Output>
struct Filters {
  const Convolution<Input, Output>& conv;
  const Class& part;
  const Input* w;
  int num_rows, num_cols;

  __device__ __forceinline__ Place<Input> place(int row) const {
    return {w + (long long)min(row, num_rows - 1) * conv.gemm.b_ld, 0, 0};
  }
  __device__ __forceinline__ Step step(int col) const {
    const auto tap = conv.by_depth(col), at = part.cols.by_taps(tap.quotient);
    const int row = part.rows.first_tap + at.quotient * part.rows.tap_step;
    const int number = row * conv.kernel_width + part.cols.first_tap + at.remainder * part.cols.tap_step;
    return {number * (num_rows * conv.gemm.b_ld) + tap.remainder, col < num_cols ? 0 : OUTSIDE, 0};
  }
  __device__ __forceinline__ bool holds(const Place<Input>&, const Step& step) const { return step.h == 0; }
};

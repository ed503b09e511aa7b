// The windows of a convolution with one class, as the copy engine is asked for them (sm_90).
#pragma once
#include "convolution.cuh"
#include "tensor_copy.cuh"

// Window `number` of all images, in the order of rows of A.
template <class Input, class Output>
__device__ __forceinline__ FirstWindow first_window(const Convolution<Input, Output>& conv, int number) {
  const Axis &rows = conv.axes[0][0], &cols = conv.axes[1][0];
  const auto line = cols.by_positions(number), image = rows.by_positions(line.quotient);
  return {0, line.remainder * cols.scale + cols.first, image.remainder * rows.scale + rows.first, image.quotient};
}

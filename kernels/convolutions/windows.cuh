// The windows of a convolution, as the copy engine is asked for them (sm_90).
#pragma once
#include "common/ptx/tensor_copy.cuh"
#include "convolutions/convolution.cuh"

// Window `number` of all images of a class, in the order of rows of A.
__device__ __forceinline__ FirstWindow first_window(const Axis& rows, const Axis& cols, int number) {
  const auto line = cols.by_positions(number), image = rows.by_positions(line.quotient);
  return {0, line.remainder * cols.scale + cols.first, image.remainder * rows.scale + rows.first, image.quotient};
}

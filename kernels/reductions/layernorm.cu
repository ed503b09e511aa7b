// Layer normalization of s = x + residual: y = w z + b, z = (s - mean) r, r = 1 / sqrt(var + eps) of each row; and its
// gradients
// Shapes: x, residual, s, y, dy, dx (M, C) of Element; w, b (C,), mean, r (M,), partials (2, blocks, C) float.
//     residual may be null: s is x then, and not written; in backward it is a gradient that is added to dx, or null. dx
//     may be dy or residual. C up to 32 ROW_WARPS ROW_PIECES PIECE; any C with ROW_PIECES 0
// Launch: ROW_WARPS 1: forward: grid ceil(M / 8), block 256; else grid M, block 32 ROW_WARPS. backward: the same
//     blocks, any grid, at best as many as run at once; then sum_parts of reduce.cu. With ROW_PIECES 0 and ROW_SUMS 1
//     backward has 2 C floats of dynamic shared memory, whole pieces
// Roofline: forward MC elements read and written, or with a residual two read and two written; backward two read (or
//     three) and one written, and a few rows of partial sums; memory-bound. Oracle: ops/layernorm.py. Has not run on
//     a GPU.
// Source: Ba et al. 2016, arXiv 1607.06450.
//
// A row stays in registers (reductions/held_row.cuh), or is read again from the cache (long_rows.cuh), so two passes
// over it cost no memory: mean first, since the square of a mean taken from the mean of squares loses everything where
// the mean is large.
#include "reductions/normalize_rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
layernorm_forward(const Element* x, const Element* residual, const float* w, const float* b, float eps, float part,
                  Element* s, float* mean, float* r, Element* y, int m, int c) {
  normalize_forward<true>({x, residual, w, b, s, y, mean, r, eps, part, m, c});
}

extern "C" __global__ void __launch_bounds__(THREADS)
layernorm_backward(const Element* dy, const Element* s, const Element* residual, const float* mean, const float* r,
                   const float* w, float part, Element* dx, float* partials, int m, int c) {
  normalize_backward<true>({dy, s, residual, mean, r, w, dx, partials, part, m, c});
}

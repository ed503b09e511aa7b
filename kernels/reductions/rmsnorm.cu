// Root mean square normalization of s = x + residual: y = w s r, r = 1 / sqrt(mean of s^2 + eps) of each row; and its
// gradients
// Shapes: x, residual, s, y, dy, dx (M, C) of Element; w (C,), r (M,), partials (1, blocks, C) float. residual may be
//     null: s is x then, and not written; in backward it is a gradient that is added to dx, or null. dx may be dy or
//     residual. C up to 32 ROW_WARPS ROW_PIECES PIECE; any C with ROW_PIECES 0
// Launch, roofline: those of layernorm.cu. Oracle: ops/rmsnorm.py. Has not run on a GPU.
// Source: Zhang and Sennrich 2019, arXiv 1910.07467.
#include "reductions/normalize_rows.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
rmsnorm_forward(const Element* x, const Element* residual, const float* w, float eps, float part, Element* s, float* r,
                Element* y, int m, int c) {
  normalize_forward<false>({x, residual, w, nullptr, s, y, nullptr, r, eps, part, m, c});
}

extern "C" __global__ void __launch_bounds__(THREADS)
rmsnorm_backward(const Element* dy, const Element* s, const Element* residual, const float* r, const float* w,
                 float part, Element* dx, float* partials, int m, int c) {
  normalize_backward<false>({dy, s, residual, nullptr, r, w, dx, partials, part, m, c});
}

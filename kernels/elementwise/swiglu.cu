// SwiGLU: y = a s b, s = sigmoid(a), of the halves a, b of each row, and its gradient
// Shapes: x, dx (M, 2 C) of Element; y, dy (M, C)
// Launch: across: pieces of a row of y; down: rows (common/elements.cuh)
// Roofline: forward 3 MC elements, backward 5 MC; memory-bound. Oracle: ops/swiglu.py.
// Source: Shazeer 2020, arXiv 2002.05202. s is computed again in backward.
#include "common/activations.cuh"
#include "common/elements.cuh"

extern "C" __global__ void __launch_bounds__(256) swiglu_forward(const Element* x, Element* y, int m, int c) {
  const bool aligned = rows_aligned<PIECE>(x, c) && rows_aligned<PIECE>(y, c);
  for_each_across((c + PIECE - 1) / PIECE, [&](int i) {
    const int col = i * PIECE;
    for_each_down(m, [&](int row) {
      const long long at = (long long)row * c + col;
      const Element* gate = x + at + (long long)row * c;
      const auto a = load<PIECE>(gate, c - col, aligned), b = load<PIECE>(gate + c, c - col, aligned);
      store<PIECE>(y + at, apply<Element>([](float a, float b) { return a * sigmoid_of(a) * b; }, a, b), c - col, aligned);
    });
  });
}

extern "C" __global__ void __launch_bounds__(256)
swiglu_dx(const Element* x, const Element* dy, Element* dx, int m, int c) {
  const bool aligned = rows_aligned<PIECE>(x, c) && rows_aligned<PIECE>(dy, c) && rows_aligned<PIECE>(dx, c);
  for_each_across((c + PIECE - 1) / PIECE, [&](int i) {
    const int col = i * PIECE;
    for_each_down(m, [&](int row) {
      const long long at = (long long)row * c + col, first = at + (long long)row * c;
      const auto a = load<PIECE>(x + first, c - col, aligned), b = load<PIECE>(x + first + c, c - col, aligned);
      const auto slope = load<PIECE>(dy + at, c - col, aligned);
      const auto da = apply<Element>(
          [](float a, float b, float slope) {
            const float s = sigmoid_of(a);
            return slope * b * s * (1 + a * (1 - s));
          },
          a, b, slope);
      const auto db = apply<Element>([](float a, float slope) { return slope * a * sigmoid_of(a); }, a, slope);
      store<PIECE>(dx + first, da, c - col, aligned);
      store<PIECE>(dx + first + c, db, c - col, aligned);
    });
  });
}

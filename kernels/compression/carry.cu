// Errors of codecs that work on whole gradients: added to them, and kept from what is left of them
// Shapes: x, error (n,) float, error null for none; bad (1,) float: 0, or NaN once a number was not finite; message (n,);
//     weight (1,), factors (3,): inject, keep, inverse, of parallel/compress/codec.py
// Launch: block 256, any grid; step_factors one thread
// Roofline: add_error 12 bytes an element (4 to look for numbers that are not finite), keep_rest 12; memory-bound.
// Oracle: ops/carry.py. Source: Karimireddy et al. 2019, "Error feedback fixes SignSGD".
//
// All threads that find such a number store the same NaN: which comes last does not matter.
#include "compression/feedback.cuh"

extern "C" __global__ void add_error(float* x, const float* error, Factor inject, float* bad, long long n) {
  const bool aligned = piece_aligned(x) && piece_aligned(error);
  const float factor = inject.get();
  for_each_piece(n, [&](long long i, int count) {
    auto sum = load<PIECE>(x + i, count, aligned);
    if (error) {
      const auto rest = load<PIECE>(error + i, count, aligned);
#pragma unroll
      for (int j = 0; j < PIECE; j++) sum.at[j] = rounded_sum(sum.at[j], rounded_product(factor, rest.at[j]));
      store<PIECE>(x + i, sum, count, aligned);
    }
    bool finite = true;
#pragma unroll
    for (int j = 0; j < PIECE; j++) finite = finite && (j >= count || is_finite(sum.at[j]));
    if (bad && !finite) *bad = nan_bits();
  });
}

extern "C" __global__ void keep_rest(const float* x, float* error, Factor keep, Factor inverse, const float* bad,
                                     long long n) {
  const bool aligned = piece_aligned(x) && piece_aligned(error), lost = !is_finite(*bad);
  const float old = keep.get(), unit = inverse.get();
  for_each_piece(n, [&](long long i, int count) {
    const auto rest = load<PIECE>(x + i, count, aligned);
    auto kept = load<PIECE>(error + i, count, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++) kept.at[j] = kept_error(kept.at[j], lost ? 0 : rest.at[j], old, unit);
    store<PIECE>(error + i, kept, count, aligned);
  });
}

// Fill a message with NaN if a number was not finite, so that all ranks see it.
extern "C" __global__ void spoil(float* message, const float* bad, long long n) {
  if (is_finite(*bad)) return;
  const bool aligned = piece_aligned(message);
  Vec<float, PIECE> nan;
#pragma unroll
  for (int j = 0; j < PIECE; j++) nan.at[j] = nan_bits();
  for_each_piece(n, [&](long long i, int count) { store<PIECE>(message + i, nan, count, aligned); });
}

extern "C" __global__ void step_factors(const float* weight, float* factors) {
  const float w = *weight;
  if (blockIdx.x > 0 || threadIdx.x > 0) return;
  factors[0] = w;
  factors[1] = w > 0 ? 0 : 1;
  factors[2] = w > 0 ? 1 / w : 0;
}

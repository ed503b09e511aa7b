// LARS: a momentum step whose rate is scaled for each parameter by the norms of its weights and of its gradient
// Shapes: pieces (num,), records of Piece: slices of the arena; partials (num, parts, 2) float
//     numbers (struct StepNumbers) or null: scale and lr that step_numbers.cu has found
// Launch: both grid (parts, num), block 256
// Roofline: 8 bytes per element, then 20, or 22 where w is also written in bf16 (copy); memory-bound. Oracle: ops/lars.py. Source: You et al. 2017, arXiv 1708.03888.
//
// trust = eta |w| / (scale |g| + decay |w|), 1 where a norm is 0 or nothing decays; v = momentum v + lr trust (scale g +
// decay w); w -= v. Norms never leave the GPU: every block of the update adds the partial sums up again, in one order.
#include "common/elements.cuh"
#include "common/reduce.cuh"
#include "optimizers/step_numbers.cuh"

// A parameter, or a part of one, whose pieces are those from `first` up to `last`.
struct Piece {
  float* w;
  const float* g;
  float* v;
  bf16* copy;  // or null
  long long n;
  int first, last;
  int decays, unused;
};

extern "C" __global__ void __launch_bounds__(256) lars_norms(const Piece* pieces, float* partials) {
  __shared__ float parts[2][8];
  const Piece piece = pieces[blockIdx.y];
  const bool aligned = piece_aligned(piece.w) && piece_aligned(piece.g);
  float weight = 0, gradient = 0;
  for_each_piece(piece.n, [&](long long i, int count) {
    const auto w = load<PIECE>(piece.w + i, count, aligned), g = load<PIECE>(piece.g + i, count, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      weight += w.at[j] * w.at[j];
      gradient += g.at[j] * g.at[j];
    }
  });
  weight = block_sum(weight, parts[0]);
  gradient = block_sum(gradient, parts[1]);
  if (threadIdx.x > 0) return;
  float* to = partials + 2ll * (blockIdx.y * gridDim.x + blockIdx.x);
  to[0] = weight;
  to[1] = gradient;
}

// The factor of the learning rate, in thread 0.
__device__ __forceinline__ float trust_of(const Piece& piece, const float* partials, float scale, float decay,
                                          float eta, float (&parts)[2][8]) {
  float weight = 0, gradient = 0;
  for (int i = piece.first * gridDim.x + threadIdx.x; i < int(piece.last * gridDim.x); i += 256) {
    weight += partials[2ll * i];
    gradient += partials[2ll * i + 1];
  }
  weight = sqrtf(block_sum(weight, parts[0]));
  gradient = scale * sqrtf(block_sum(gradient, parts[1]));
  return piece.decays && weight > 0 && gradient > 0 ? eta * weight / (gradient + decay * weight) : 1;
}

extern "C" __global__ void __launch_bounds__(256)
lars(const Piece* pieces, const float* partials, const float* numbers, float lr, float scale, float momentum,
     float decay, float eta) {
  __shared__ float parts[2][8];
  __shared__ float trust;
  if (left_out(numbers)) return;
  take(numbers, {&scale, &lr});
  const Piece piece = pieces[blockIdx.y];
  const float found = trust_of(piece, partials, scale, decay, eta, parts);
  if (threadIdx.x == 0) trust = found;
  __syncthreads();
  const float rate = lr * trust, pull = piece.decays ? decay : 0;
  const bool aligned = piece_aligned(piece.w) && piece_aligned(piece.g) && piece_aligned(piece.v) &&
                       piece_aligned(piece.copy);
  for_each_piece(piece.n, [&](long long i, int count) {
    auto w = load<PIECE>(piece.w + i, count, aligned), v = load<PIECE>(piece.v + i, count, aligned);
    const auto g = load<PIECE>(piece.g + i, count, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      v.at[j] = momentum * v.at[j] + rate * (scale * g.at[j] + pull * w.at[j]);
      w.at[j] -= v.at[j];
    }
    store<PIECE>(piece.v + i, v, count, aligned);
    store<PIECE>(piece.w + i, w, count, aligned);
    if (piece.copy) store<PIECE>(piece.copy + i, apply<bf16>([](float x) { return x; }, w), count, aligned);
  });
}

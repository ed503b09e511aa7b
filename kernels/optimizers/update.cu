// One step of an optimizer over a slice of the arena, in one pass
// Shapes: w, g and the slots (n,) float, slices of the arenas;
//     decays (ceil(n / 16),) bytes or null: whether weight decay applies to 16 neighbors (parameters begin at
//     multiples of 16 elements); without it nothing decays; copy (n,) bf16 or null: w is written there too, rounded
//     to nearest, for the products of the next step; numbers (struct StepNumbers) or null: those of the step that
//     step_numbers.cu has found, in place of the arguments of the same meaning
// Launch: block 256, any grid
// Roofline: 20 bytes an element (momentum, Adagrad), 28 (Adam), 2 more with a copy; memory-bound.
// Oracles: ops/update.py; optim/sgd.py, adam.py and adagrad.py say the formulas and their sources.
#include "common/elements.cuh"
#include "optimizers/step_numbers.cuh"

struct Slice {
  float* w;
  const float* g;
  const unsigned char* decays;
  bf16* copy;
  long long n;
};

// w = f(w, g, decays, slots) for each element; f changes its slots. A slot may be null: it is 0 then.
template <int SLOTS, class F>
__device__ __forceinline__ void update(const Slice& slice, float* const (&slots)[SLOTS], F f) {
  bool aligned = piece_aligned(slice.w) && piece_aligned(slice.g) && piece_aligned(slice.copy);
  for (float* slot : slots) aligned = aligned && piece_aligned(slot);
  for_each_piece(slice.n, [&](long long i, int count) {
    auto w = load<PIECE>(slice.w + i, count, aligned);
    const auto g = load<PIECE>(slice.g + i, count, aligned);
    const bool decays = slice.decays && slice.decays[i / 16];  // a piece is within one of the 16s
    Vec<float, PIECE> kept[SLOTS];
#pragma unroll
    for (int k = 0; k < SLOTS; k++) kept[k] = load<PIECE>(slots[k] + i, slots[k] ? count : 0, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      float own[SLOTS];
#pragma unroll
      for (int k = 0; k < SLOTS; k++) own[k] = kept[k].at[j];
      w.at[j] = f(w.at[j], g.at[j], decays, own);
#pragma unroll
      for (int k = 0; k < SLOTS; k++) kept[k].at[j] = own[k];
    }
    store<PIECE>(slice.w + i, w, count, aligned);
    if (slice.copy) store<PIECE>(slice.copy + i, apply<bf16>([](float x) { return x; }, w), count, aligned);
#pragma unroll
    for (int k = 0; k < SLOTS; k++) store<PIECE>(slots[k] + i, kept[k], slots[k] ? count : 0, aligned);
  });
}

// g' = lr (scale g + weight_decay w); v = momentum v + g'; w -= v, or with nesterov w -= g' + momentum v.
// v: null where there is no momentum. numbers: scale, weight_decay, both with the learning rate in them.
extern "C" __global__ void sgd(float* w, const float* g, float* v, const unsigned char* decays, bf16* copy,
                               const float* numbers, long long n, float lr, float scale, float momentum,
                               float weight_decay, int nesterov) {
  if (left_out(numbers)) return;
  take(numbers, {&scale, &weight_decay});
  update({w, g, decays, copy, n}, {v}, [&](float w, float g, bool decays, float (&slots)[1]) {
    const float step = lr * (scale * g + (decays ? weight_decay * w : 0));
    const float velocity = slots[0] = momentum * slots[0] + step;
    return nesterov ? w - step - momentum * velocity : w - velocity;
  });
}

// w' = w - shrink w where w decays (AdamW: shrink = lr weight_decay); g' = scale g + l2 w where it decays (Adam);
// m = beta1 m + (1 - beta1) g'; v = beta2 v + (1 - beta2) g'^2; w = w' - rate m / (sqrt(v) + eps).
// The host folds the corrections of step t in: rate = lr sqrt(c2) / c1, eps' = eps sqrt(c2), c = 1 - beta^t.
// numbers: scale, rate, eps, shrink.
extern "C" __global__ void adam(float* w, const float* g, float* m, float* v, const unsigned char* decays, bf16* copy,
                                const float* numbers, long long n, float rate, float eps, float scale, float beta1,
                                float beta2, float l2, float shrink) {
  if (left_out(numbers)) return;
  take(numbers, {&scale, &rate, &eps, &shrink});
  update({w, g, decays, copy, n}, {m, v}, [&](float w, float g, bool decays, float (&slots)[2]) {
    const float gradient = scale * g + (decays ? l2 * w : 0);
    slots[0] = beta1 * slots[0] + (1 - beta1) * gradient;
    slots[1] = beta2 * slots[1] + (1 - beta2) * gradient * gradient;
    return w - (decays ? shrink * w : 0) - rate * slots[0] / (sqrtf(slots[1]) + eps);
  });
}

// g' = scale g + weight_decay w where w decays; s += g'^2; w -= lr g' / (sqrt(s) + eps). numbers: scale, lr.
extern "C" __global__ void adagrad(float* w, const float* g, float* s, const unsigned char* decays, bf16* copy,
                                   const float* numbers, long long n, float lr, float eps, float scale,
                                   float weight_decay) {
  if (left_out(numbers)) return;
  take(numbers, {&scale, &lr});
  update({w, g, decays, copy, n}, {s}, [&](float w, float g, bool decays, float (&slots)[1]) {
    const float gradient = scale * g + (decays ? weight_decay * w : 0);
    slots[0] += gradient * gradient;
    return w - lr * gradient / (sqrtf(slots[0]) + eps);
  });
}

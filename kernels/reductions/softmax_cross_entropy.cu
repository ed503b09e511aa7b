// Softmax and cross-entropy, forward and gradient in one: loss = log(sum_k exp s_k) - sum_k q_k s_k, dlogits = p - q
// Shapes: logits, dlogits (M, K) of Element, rows ld apart (dlogits may be logits); targets (M,) int64 in [0, K), or
//     `ignored`: such rows count for nothing; totals (M, 3) float: 1 where a row counts, its loss, 1 where its target
//     is the (first) largest logit. A target outside of [0, K) makes the loss and the gradient of its row NaN: to say
//     more would be to wait for the GPU. class_weights (K,) float, or null: the loss and the gradient of a row are
//     multiplied by the weight of its target.
// Launch: ROW_WARPS 1: grid ceil(M / 8), block 256: a warp for each row. ROW_WARPS 16: grid M, block 512: a block for
//     each row, with as many bytes of dynamic shared memory as a row has and `keeps` 1, or with none and 0
// Roofline: 2 MK elements: a read and a write; the second read of a row comes from shared memory or from a cache;
//     memory-bound. Oracle: ops/softmax_cross_entropy.py. Has not run on a GPU.
// Source: Milakov and Gimelshein 2018, "Online normalizer calculation".
//
// s = logits - max, p = softmax; q is one-hot at the target, smoothed: (1 - smoothing) [k = target] + smoothing / K. A
// thread keeps the maximum so far and the sum of exponentials against it, rescaled where the maximum grows; then the
// threads of a row merge. All but the first and the last few elements of a row are moved 16 bytes at a time, wherever
// it begins, and several such at a time, so that enough loads are under way.
#include "common/elements.cuh"
#include "common/ptx/exp2.cuh"
#include "common/ptx/shared.cuh"
#include "reductions/row_threads.cuh"

#ifndef ROW_WARPS
#define ROW_WARPS 1
#endif
constexpr int THREADS = ROW_WARPS > 1 ? 32 * ROW_WARPS : 256, LANES = 32 * ROW_WARPS;
constexpr int WIDE = 16 / sizeof(Element), AT_ONCE = 16 / WIDE;  // elements of 16 bytes; how many of these at a time
constexpr float LOWEST = -3.402823466e38f;
using Threads = RowThreads<ROW_WARPS>;

// COUNT pieces of N neighbors, LANES N elements apart, in registers: those that a thread takes at a time.
template <int N_, int COUNT>
struct Group {
  static constexpr int N = N_, APART = LANES * N, STEP = COUNT * APART;
  Vec<Element, N> at[COUNT];

  __device__ __forceinline__ void load(const Element* from) {
#pragma unroll
    for (int q = 0; q < COUNT; q++) at[q] = *reinterpret_cast<const Vec<Element, N>*>(from + q * APART);
  }
  __device__ __forceinline__ void store(Element* to) const {
#pragma unroll
    for (int q = 0; q < COUNT; q++) *reinterpret_cast<Vec<Element, N>*>(to + q * APART) = at[q];
  }
  template <class Body>
  __device__ __forceinline__ void each(Body body) {  // body(element, its place behind the first)
#pragma unroll
    for (int q = 0; q < COUNT; q++)
#pragma unroll
      for (int j = 0; j < N; j++) body(at[q].at[j], q * APART + j);
  }
};
using Most = Group<WIDE, AT_ONCE>;
using Few = Group<WIDE, 1>;
using Edge = Group<1, 1>;

// A row in groups: pieces of 16 bytes behind `lead` elements that end where 16 bytes begin, and single elements before
// and behind them. body(Group, i): a group of this thread begins at element i.
struct Groups {
  int lead, full, end, k;
  __device__ __forceinline__ Groups(const Element* x, const Element* dx, int k) : k(k) {
    const auto from = reinterpret_cast<unsigned long long>(x), to = reinterpret_cast<unsigned long long>(dx);
    lead = (from - to) % 16 ? k : min(k, int((0 - from) % 16 / sizeof(Element)));
    end = lead + (k - lead) / WIDE * WIDE;
    full = end - (AT_ONCE - 1) * Most::APART;  // up to there the last piece of `Most` has begun
  }
  template <class Body>
  __device__ __forceinline__ void each(Body body) const {  // in the order of elements
#pragma unroll 1
    for (int i = Threads::lane(); i < lead; i += Edge::STEP) body(Edge(), i);
    int i = lead + Threads::lane() * WIDE;
#pragma unroll 1
    for (; i < full; i += Most::STEP) body(Most(), i);
#pragma unroll 1
    for (; i < end; i += Few::STEP) body(Few(), i);
#pragma unroll 1
    for (i = end + Threads::lane(); i < k; i += Edge::STEP) body(Edge(), i);
  }
  template <class Body>
  __device__ __forceinline__ void one(int i, Body body) const {  // the group that begins at i
    if (i < lead || i >= end)
      body(Edge(), i);
    else if (i < full)
      body(Most(), i);
    else
      body(Few(), i);
  }
};

// What a thread knows of its part of a row.
struct Softmax {
  float largest = LOWEST, sum = 0, plain = 0;  // sum of exp(x - largest), and of x
  int group = 0;                               // the first that has the largest

  template <class Group>
  __device__ __forceinline__ void add(Group& x, int i) {
    float next = largest;
    x.each([&](Element value, int) { next = fmaxf(next, to_float(value)); });
    if (next > largest) {
      sum *= exp2_approx((largest - next) * LOG2_E);
      largest = next;
      group = i;
    }
    x.each([&](Element value, int) {
      plain += to_float(value);
      sum += exp2_approx((to_float(value) - largest) * LOG2_E);
    });
  }
};

// The passes over a row, as bodies for Groups.
struct FirstPass {
  const Element* x;
  Element* kept;  // where element 0 would lie in shared memory
  bool keeps;
  Softmax& mine;
  template <class Group>
  __device__ __forceinline__ void operator()(Group group, int i) const {
    group.load(x + i);
    if (Group::N > 1 && keeps) group.store(kept + i);
    mine.add(group, i);
  }
};
struct FindFirst {
  const Element* x;
  float largest;
  int& first;
  template <class Group>
  __device__ __forceinline__ void operator()(Group group, int i) const {
    group.load(x + i);
    group.each([&](Element value, int j) { first = to_float(value) == largest ? min(first, i + j) : first; });
  }
};
struct SecondPass {
  const Element *x, *kept;
  bool keeps;
  Element* dx;
  float largest, share, spread, hit;  // p - q = e share - spread, and less by `hit` at the target
  int target;
  template <class Group>
  __device__ __forceinline__ void operator()(Group group, int i) const {
    if (Group::N > 1 && keeps)
      group.load(kept + i);
    else
      group.load(x + i);
    const int here = target - i;
    group.each([&](Element& value, int j) {
      const float p = exp2_approx((to_float(value) - largest) * LOG2_E) * share - spread;
      value = Convert<Element>::from(here == j ? p - hit : p);
    });
    group.store(dx + i);
  }
};

// The gradient of a row that has no target in it: 0, or NaN where the target is none at all.
__device__ __forceinline__ void fill(Element* dx, int k, float* total, bool ignored) {
  const float filling = ignored ? 0 : float_from_bits(0x7FC00000);
  if (dx)
    for (int i = Threads::lane(); i < k; i += LANES) dx[i] = Convert<Element>::from(filling);
  if (Threads::lane() > 0) return;
  total[0] = !ignored;
  total[1] = filling;
  total[2] = 0;
}

// dlogits null: only the totals.
extern "C" __global__ void __launch_bounds__(THREADS, 1024 / THREADS)
softmax_cross_entropy(const Element* logits, const long long* targets, long long ignored, float smoothing,
                      const float* class_weights, float* totals, Element* dlogits, int m, int k, int ld, int keeps) {
  DYNAMIC_SHARED(shared);
  __shared__ float largest_of[ROW_WARPS], sum_of[ROW_WARPS], plain_of[ROW_WARPS];
  __shared__ int first_of[ROW_WARPS];
  const int row = blockIdx.x * (THREADS / LANES) + threadIdx.x / LANES;
  if (row >= m) return;
  const Element* x = logits + (long long)row * ld;
  Element* dx = dlogits ? dlogits + (long long)row * ld : nullptr;
  const long long target = targets[row];
  float* total = totals + 3ll * row;
  if (target == ignored || target < 0 || target >= k) return fill(dx, k, total, target == ignored);
  const float weight = class_weights ? class_weights[target] : 1, of_target = to_float(x[target]);

  const Groups groups(x, dx ? dx : x, k);
  Element* kept = reinterpret_cast<Element*>(shared) - groups.lead;
  Softmax mine;
  groups.each(FirstPass{x, kept, keeps > 0, mine});
  const float largest = Threads::max(mine.largest, largest_of);
  const float sum = Threads::sum(mine.sum * exp2_approx((mine.largest - largest) * LOG2_E), sum_of);
  int first = k;  // of the largest
  if (of_target == largest && mine.largest == largest)
    groups.one(mine.group, FindFirst{x, largest, first});
  first = Threads::min(first, first_of);  // after which all have read what others write
  if (smoothing > 0) mine.plain = Threads::sum(mine.plain, plain_of);
  if (Threads::lane() == 0) {
    const float even = smoothing > 0 ? smoothing * (mine.plain / k - largest) : 0;
    total[0] = 1;
    total[1] = weight * (logf(sum) - (1 - smoothing) * (of_target - largest) - even);
    total[2] = first == target;
  }
  if (!dx) return;
  __syncwarp();
  const float share = weight / sum, spread = weight * smoothing / k, hit = weight * (1 - smoothing);
  groups.each(SecondPass{x, kept, keeps > 0, dx, largest, share, spread, hit, int(target)});
}

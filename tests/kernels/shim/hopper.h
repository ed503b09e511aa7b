// What Hopper does beside its threads: mbarriers, tensor copies (TMA) and matrix products of a warpgroup (wgmma).
//
// Undefined here means wrong or refused there:
// - the target of a tensor copy is NaN from its issue to its landing, which comes at a moment drawn at random;
// - the sums of wgmma are NaN from its issue to the wait that covers it. Its factors are read at the one or the other,
//   drawn at random: a stage that has not landed yet, or is given back too early, spoils the result;
// - an mbarrier that is used before it was initialised and fenced, or gets more arrivals than it counts, ends the launch;
// - so does wgmma without a fence since the last wait (stricter than PTX, which wants one where registers were touched),
//   with descriptors that its warp or warpgroup does not share, that reach beyond the shared memory, or whose layout is
//   not a swizzle of 128 bytes; and a tensor copy whose target is not aligned for that swizzle.
#pragma once
#include <cmath>

#include "block.h"

namespace on_cpu {

constexpr size_t SHARED_APART = 256 << 10;  // bytes between the shared memories of a cluster: 18 bits of address
constexpr size_t SHARED_FIRST = 128;        // a kernel may not count on more alignment than this

struct Mbarrier {
  int count, pending, bytes;
  unsigned phase;
  bool fenced;
  std::vector<int> waiting;
};

// The parameters of cuTensorMapEncodeTiled, in its place: tiles of up to three dims, the innermost first.
struct TensorMap {
  const char* base;
  uint64_t size[3], stride[3];  // elements, and bytes from one to the next
  uint32_t box[3], element_bytes;
};

struct TensorCopy {
  char* to;
  TensorMap map;  // a copy: parameters of a kernel outlive its threads
  int first[3];
  char* barrier;
  unsigned ctas;  // a bit for each block of the cluster that gets it
};

inline std::map<const void*, Mbarrier> mbarriers;
inline std::vector<TensorCopy> tensor_copies;
inline std::vector<std::vector<std::pair<uint64_t, uint64_t>>> warpgroup_products;  // descriptors in order of issue
inline Random moments(0);

inline void forget_async() {
  mbarriers.clear();
  tensor_copies.clear();
  warpgroup_products.clear();
}

inline std::string left_async() { return tensor_copies.empty() ? "" : "a block ends before its tensor copies landed"; }

// The same place in the shared memory of another block of the cluster.
inline char* in_cta(const void* shared, unsigned cta) {
  return static_cast<char*>(const_cast<void*>(shared)) + (long(cta) - block.current->cta) * long(SHARED_APART);
}

inline Mbarrier& mbarrier_at(const void* at) {
  static Mbarrier none;
  const auto found = mbarriers.find(at);
  if (found == mbarriers.end() || !found->second.fenced) {
    block.fail("an mbarrier is used before it was initialised and fenced");
    return none;
  }
  return found->second;
}

inline void turn_if_complete(Mbarrier& b) {
  if (b.pending || b.bytes) return;
  b.phase ^= 1;
  b.pending = b.count;
  block.release(b.waiting);
}

inline void mbarrier_init(void* at, int count) {
  mbarriers[at] = {count, count, 0, 0, false, {}};
  block.current->unfenced_barriers.push_back(at);
}

inline void fence_mbarriers() {
  for (const void* at : block.current->unfenced_barriers) mbarriers[at].fenced = true;
  block.current->unfenced_barriers.clear();
}

inline void mbarrier_arrive(const void* at, int bytes) {
  for (const Cta& cta : block.ctas)
    if (!cta.alive && at >= cta.dynamic_shared && at < cta.dynamic_shared + block.shared_bytes)
      block.fail("a thread arrives at an mbarrier of a block that has ended");
  Mbarrier& b = mbarrier_at(at);
  b.bytes += bytes;
  if (--b.pending < 0) block.fail("an mbarrier gets more arrivals than it counts");
  turn_if_complete(b);
}

inline void mbarrier_wait(const void* at, unsigned parity) {
  while (mbarrier_at(at).phase == parity) {
    mbarrier_at(at).waiting.push_back(block.current->number);
    block.wait("an mbarrier");
  }
}

// The swizzle of 128 bytes: bits 4 to 6 of an address are exchanged by its bits 7 to 9.
inline char* swizzled(char* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address);
  return reinterpret_cast<char*>(bits ^ (bits >> 7 & 7) << 4);
}

inline void start_tensor_copy(void* to, const TensorMap* map, int x, int y, int z, void* barrier, unsigned ctas) {
  const size_t bytes = size_t(map->box[0]) * map->box[1] * map->box[2] * map->element_bytes;
  if (map->box[0] * map->element_bytes != 128) block.fail("a row of the box is not the 128 bytes of the swizzle");
  if (reinterpret_cast<uintptr_t>(to) % 1024) block.fail("the target of a tensor copy is not aligned to 1024 bytes");
  if (reinterpret_cast<uintptr_t>(map->base) % 16 || (map->size[1] > 1 && map->stride[1] % 16) ||
      (map->size[2] > 1 && map->stride[2] % 16) || map->box[1] > 256)
    block.fail("a tensor map that cuTensorMapEncodeTiled would refuse");
  for (unsigned cta = 0; cta < block.ctas.size(); cta++)
    if (ctas >> cta & 1) {
      char* target = in_cta(to, cta);
      const char* first = block.ctas[cta].dynamic_shared;
      if (target < first || target + bytes > first + block.shared_bytes)
        block.fail("a tensor copy reaches beyond the shared memory");
      memset(target, 0xFF, bytes);
      tensor_copies.push_back({target, *map, {x, y, z}, in_cta(barrier, cta), ctas});
    }
}

inline bool land_a_copy(Random& random) {
  if (tensor_copies.empty()) return false;
  std::swap(tensor_copies[random.below(tensor_copies.size())], tensor_copies.back());
  const TensorCopy copy = tensor_copies.back();
  tensor_copies.pop_back();
  const TensorMap& map = copy.map;
  char* to = copy.to;
  for (uint32_t z = 0; z < map.box[2]; z++)
    for (uint32_t y = 0; y < map.box[1]; y++)
      for (uint32_t x = 0; x < map.box[0]; x++, to += map.element_bytes) {
        const uint64_t at[3] = {uint64_t(copy.first[0] + int64_t(x)), uint64_t(copy.first[1] + int64_t(y)),
                                uint64_t(copy.first[2] + int64_t(z))};  // negative is large: outside as well
        if (at[0] < map.size[0] && at[1] < map.size[1] && at[2] < map.size[2]) {
          const char* from = map.base + at[0] * map.element_bytes + at[1] * map.stride[1] + at[2] * map.stride[2];
          memcpy(swizzled(to), from, map.element_bytes);
        } else {
          memset(swizzled(to), 0, map.element_bytes);
        }
      }
  Mbarrier& barrier = mbarrier_at(copy.barrier);
  barrier.bytes -= int(to - copy.to);
  turn_if_complete(barrier);
  return true;
}

// One factor of a product as its descriptor says (PTX ISA, "Asynchronous warpgroup-level matrix shared memory layout"):
// `extent` rows or columns i, 32 bytes of k deep, with k contiguous, or i contiguous in blocks of 128 bytes.
class Factor {
 public:
  Factor(uint64_t bits, bool k_contiguous, bool is_bf16, int extent)
      : first_(block.cta().dynamic_shared - reinterpret_cast<uintptr_t>(block.cta().dynamic_shared) % SHARED_APART +
               (bits & 0x3FFF) * 16),
        leading_((bits >> 16 & 0x3FFF) * 16),
        stride_((bits >> 32 & 0x3FFF) * 16),
        bytes_(is_bf16 ? 2 : 4),
        k_contiguous_(k_contiguous) {
    if (bits >> 62 != 1) block.fail("a descriptor without the swizzle of 128 bytes");
    if (bits >> 49 & 7) block.fail("a descriptor with a base offset");
    const Cta& cta = block.cta();
    if (first_ < cta.dynamic_shared || place(extent - 1, 32 / bytes_ - 1) >= cta.dynamic_shared + block.shared_bytes)
      block.fail("a descriptor reaches beyond the shared memory");
  }

  float operator()(int i, int k) const {
    unsigned bits = 0;
    if (bytes_ == 2) {
      unsigned short half;
      memcpy(&half, swizzled(place(i, k)), 2);
      bits = unsigned(half) << 16;
    } else {
      memcpy(&bits, swizzled(place(i, k)), 4);
      bits &= ~0x1FFFu;  // tf32: the lower 13 bits are not looked at
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
  }

 private:
  char* first_;
  long leading_, stride_;
  int bytes_;
  bool k_contiguous_;

  char* place(int i, int k) const {
    const int across = 128 / bytes_;
    return k_contiguous_ ? first_ + i / 8 * stride_ + i % 8 * 128 + k * bytes_
                         : first_ + i / across * leading_ + k / 8 * stride_ + k % 8 * 128 + i % across * bytes_;
  }
};

// This lane's sums: in rows lane / 4 and lane / 4 + 8 of its warp's 16, two columns of each 8.
template <bool BF16>
__attribute__((optimize("O3"))) void multiply(Product& p) {
  constexpr int DEPTH = BF16 ? 16 : 8;
  const Thread& me = *block.current;
  const Factor a(p.a, p.a_k_contiguous, BF16, 64), b(p.b, p.b_k_contiguous, BF16, p.columns);
  float rows[2][DEPTH];
  for (int half = 0; half < 2; half++)
    for (int k = 0; k < DEPTH; k++) rows[half][k] = a(16 * (me.number / WARP % 4) + me.lane / 4 + 8 * half, k);
  for (int group = 0; group < p.columns / 8; group++)
    for (int pair = 0; pair < 2; pair++) {
      float sums[2] = {}, column[DEPTH];
      for (int k = 0; k < DEPTH; k++) column[k] = b(8 * group + me.lane % 4 * 2 + pair, k);
      for (int half = 0; half < 2; half++) {
        for (int k = 0; k < DEPTH; k++) sums[half] += rows[half][k] * column[k];
        float& to = p.values[4 * group + 2 * half + pair];
        to = (p.add ? to : 0) + sums[half];
      }
    }
  p.done = true;
}

inline void check_warpgroup(uint64_t a, uint64_t b) {
  Thread& me = *block.current;
  const size_t group = me.number / (4 * WARP), number = me.num_products++;
  if (warpgroup_products.size() <= group) warpgroup_products.resize(group + 1);
  auto& known = warpgroup_products[group];
  if (number == known.size()) known.push_back({a, b});
  if (known[number] != std::make_pair(a, b)) block.fail("the lanes of a warpgroup pass different descriptors to wgmma");
}

inline void fence_registers() {
  block.gather(~0u, "", 0);
  block.current->registers_fenced = true;
}

inline void execute(std::vector<Product>& products, size_t i) {
  if (i > 0 && products[i - 1].sums == products[i].sums) products[i].values = products[i - 1].values;
  products[i].is_bf16 ? multiply<true>(products[i]) : multiply<false>(products[i]);
}

inline void start_product(uint64_t a, uint64_t b, bool a_k_contiguous, bool b_k_contiguous, bool add, bool is_bf16,
                          float* sums, int columns) {
  Thread& me = *block.current;
  if (!me.registers_fenced) block.fail("wgmma without a fence before it");
  check_warpgroup(a, b);
  Product p{a, b, a_k_contiguous, b_k_contiguous, add, is_bf16, sums, columns, me.product_group, false, {}};
  p.values.assign(sums, sums + columns / 2);
  memset(static_cast<void*>(sums), 0xFF, columns / 2 * sizeof(float));
  me.products.push_back(std::move(p));
  const size_t last = me.products.size() - 1;
  if ((last == 0 || me.products[last - 1].done) && moments.below(2)) execute(me.products, last);
}

inline void commit_products() { block.current->product_group++; }

// Finish the products of all committed groups except the newest `pending`.
inline void wait_products(int pending) {
  std::vector<Product>& products = block.current->products;
  size_t finished = 0;
  for (; finished < products.size() && products[finished].group < block.current->product_group - pending; finished++) {
    Product& p = products[finished];
    if (!p.done) execute(products, finished);
    if (finished + 1 == products.size() || products[finished + 1].sums != p.sums)
      memcpy(p.sums, p.values.data(), p.values.size() * sizeof(float));
    else if (!products[finished + 1].done)
      products[finished + 1].values = p.values;
  }
  products.erase(products.begin(), products.begin() + finished);
  if (products.empty()) block.current->registers_fenced = false;
  block.gather(~0u, "", 0);  // a warp waits as one
}

}  // namespace on_cpu

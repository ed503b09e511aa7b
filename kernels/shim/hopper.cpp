// Mbarriers and tensor copies: see hopper.h.
#include "hopper.h"

#include <cstring>
#include <map>
#include <utility>

#include "running.h"

namespace on_cpu {

namespace {

struct Mbarrier {
  int count, pending, bytes;
  unsigned phase;
  bool fenced;
  std::vector<int> waiting;
};

struct TensorCopy {
  char* to;
  TensorMap map;  // a copy: parameters of a kernel outlive its threads
  int first[4];
  char* barrier;
  unsigned ctas;  // a bit for each block of the cluster that gets it
};

std::map<const void*, Mbarrier> mbarriers;
std::vector<TensorCopy> tensor_copies;

Mbarrier& mbarrier_at(const void* at) {
  static Mbarrier none;
  const auto found = mbarriers.find(at);
  if (found == mbarriers.end() || !found->second.fenced) {
    block.fail("an mbarrier is used before it was initialised and fenced");
    return none;
  }
  return found->second;
}

void turn_if_complete(Mbarrier& b) {
  if (b.pending || b.bytes) return;
  b.phase ^= 1;
  b.pending = b.count;
  release(b.waiting);
}

}  // namespace

void forget_copies() {
  mbarriers.clear();
  tensor_copies.clear();
}

std::string left_copies() { return tensor_copies.empty() ? "" : "a block ends before its tensor copies landed"; }

void mbarrier_init(void* at, int count) {
  mbarriers[at] = {count, count, 0, 0, false, {}};
  me().unfenced_barriers.push_back(at);
}

void fence_mbarriers() {
  for (const void* at : me().unfenced_barriers) mbarriers[at].fenced = true;
  me().unfenced_barriers.clear();
}

void mbarrier_arrive(const void* at, int bytes) {
  for (unsigned c = 0; c < block.num_ctas; c++) {
    const Cta& cta = block.ctas[c];
    if (!num_alive(cta) && at >= cta.dynamic_shared && at < cta.dynamic_shared + block.shared_bytes)
      block.fail("a thread arrives at an mbarrier of a block that has ended");
  }
  Mbarrier& b = mbarrier_at(at);
  b.bytes += bytes;
  if (--b.pending < 0) block.fail("an mbarrier gets more arrivals than it counts");
  turn_if_complete(b);
}

void mbarrier_wait(const void* at, unsigned parity) {
  while (mbarrier_at(at).phase == parity) {
    mbarrier_at(at).waiting.push_back(block.current->number);
    wait("an mbarrier");
  }
}

void start_tensor_copy(void* to, const TensorMap* map, unsigned rank, const int (&first)[4], void* barrier,
                       unsigned ctas) {
  const size_t bytes = size_t(map->box[0]) * map->box[1] * map->box[2] * map->box[3] * map->element_bytes;
  if (rank != map->rank) block.fail("a tensor copy by a map with another number of dims");
  if (map->box[0] * map->element_bytes != 128) block.fail("a row of the box is not the 128 bytes of the swizzle");
  if (reinterpret_cast<uintptr_t>(to) % 1024) block.fail("the target of a tensor copy is not aligned to 1024 bytes");
  if (reinterpret_cast<uintptr_t>(map->base) % 16 || (map->size[1] > 1 && map->stride[1] % 16) ||
      (map->size[2] > 1 && map->stride[2] % 16) || (map->size[3] > 1 && map->stride[3] % 16) || map->box[1] > 256)
    block.fail("a tensor map that cuTensorMapEncodeTiled would refuse");
  for (unsigned cta = 0; cta < block.num_ctas; cta++)
    if (ctas >> cta & 1) {
      char* target = in_cta(to, cta);
      const char* shared = block.ctas[cta].dynamic_shared;
      if (target < shared || target + bytes > shared + block.shared_bytes)
        block.fail("a tensor copy reaches beyond the shared memory");
      memset(target, 0xFF, bytes);
      tensor_copies.push_back({target, *map, {first[0], first[1], first[2], first[3]}, in_cta(barrier, cta), ctas});
    }
}

bool land_a_copy(Random& random) {
  if (tensor_copies.empty()) return false;
  std::swap(tensor_copies[random.below(tensor_copies.size())], tensor_copies.back());
  const TensorCopy copy = tensor_copies.back();
  tensor_copies.pop_back();
  const TensorMap& map = copy.map;
  char* to = copy.to;
  const uint32_t rows = map.box[1] * map.box[2] * map.box[3];
  for (uint32_t row = 0; row < rows; row++) {
    const char* from = map.base;
    bool inside = true;
    for (uint32_t dim = 1, rest = row; dim < 4; rest /= map.box[dim++]) {
      const uint64_t at = uint64_t(copy.first[dim] + int64_t(rest % map.box[dim]));  // negative is large: outside too
      inside = inside && at < map.size[dim];
      from += at * map.stride[dim];
    }
    for (uint32_t x = 0; x < map.box[0]; x++, to += map.element_bytes) {
      const uint64_t at = uint64_t(copy.first[0] + int64_t(x));
      if (inside && at < map.size[0])
        memcpy(swizzled(to), from + at * map.stride[0], map.element_bytes);
      else
        memset(swizzled(to), 0, map.element_bytes);
    }
  }
  Mbarrier& barrier = mbarrier_at(copy.barrier);
  barrier.bytes -= int(to - copy.to);
  turn_if_complete(barrier);
  return true;
}

}  // namespace on_cpu

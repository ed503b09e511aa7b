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
  int first[3];
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

void check_box(const TensorMap& map, const void* shared) {
  if (map.box[0] * map.element_bytes != 128) block.fail("a row of the box is not the 128 bytes of the swizzle");
  if (reinterpret_cast<uintptr_t>(shared) % 1024) block.fail("a box in shared memory is not aligned to 1024 bytes");
  if (reinterpret_cast<uintptr_t>(map.base) % 16 || (map.size[1] > 1 && map.stride[1] % 16) ||
      (map.size[2] > 1 && map.stride[2] % 16) || map.box[1] > 256)
    block.fail("a tensor map that cuTensorMapEncodeTiled would refuse");
}

size_t box_bytes(const TensorMap& map) { return size_t(map.box[0]) * map.box[1] * map.box[2] * map.element_bytes; }

// Call each(place in the box in bytes, its place in memory or null outside of the matrix) for the elements of a box.
template <class Each>
void for_box(const TensorMap& map, const int (&first)[3], Each each) {
  size_t place = 0;
  for (uint32_t z = 0; z < map.box[2]; z++)
    for (uint32_t y = 0; y < map.box[1]; y++)
      for (uint32_t x = 0; x < map.box[0]; x++, place += map.element_bytes) {
        const uint64_t at[3] = {uint64_t(first[0] + int64_t(x)), uint64_t(first[1] + int64_t(y)),
                                uint64_t(first[2] + int64_t(z))};  // negative is large: outside as well
        const bool inside = at[0] < map.size[0] && at[1] < map.size[1] && at[2] < map.size[2];
        const char* in_memory = map.base + at[0] * map.element_bytes + at[1] * map.stride[1] + at[2] * map.stride[2];
        each(place, inside ? const_cast<char*>(in_memory) : nullptr);
      }
}

void do_store(const Store& store) {
  const int bytes = int(store.map.element_bytes);
  for_box(store.map, store.first, [&](size_t place, char* to) {
    if (!to) return;
    const char* now = swizzled(const_cast<char*>(store.from) + place);
    const char* box = &store.box[place];
    if (memcmp(now, &store.before[place], bytes))
      memset(to, 0xFF, bytes);  // written while the store was under way
    else
      memcpy(to, box, bytes);
  });
}

}  // namespace

char* async_view(const char* shared) {
  for (unsigned c = 0; c < block.num_ctas; c++) {
    const Cta& cta = block.ctas[c];
    if (shared >= cta.dynamic_shared && shared < cta.dynamic_shared + block.shared_bytes)
      return cta.async_view + (shared - cta.dynamic_shared);
  }
  block.fail("the async proxy reaches beyond the dynamic shared memory");
  return nullptr;
}

void fence_async() { memcpy(block.cta().async_view, block.cta().dynamic_shared, block.shared_bytes); }

void start_tensor_store(const TensorMap* map, int x, int y, int z, const void* from) {
  check_box(*map, from);
  Store store{static_cast<const char*>(from), {}, {}, *map, {x, y, z}, me().store_group};
  const size_t bytes = box_bytes(*map), each = map->element_bytes;
  async_view(store.from + bytes - 1);  // within the memory
  for (size_t place = 0; place < bytes; place += each) {
    const char* now = swizzled(const_cast<char*>(store.from) + place);
    const char* seen = async_view(now);
    store.before.insert(store.before.end(), now, now + each);
    if (memcmp(now, seen, each))
      store.box.insert(store.box.end(), each, char(0xFF));  // written, and not fenced
    else
      store.box.insert(store.box.end(), now, now + each);
  }
  me().stores.push_back(std::move(store));
}

void commit_tensor_stores() { me().store_group++; }

void wait_tensor_stores(int pending) {
  std::vector<Store>& stores = me().stores;
  size_t finished = 0;
  for (; finished < stores.size() && stores[finished].group < me().store_group - pending; finished++)
    do_store(stores[finished]);
  stores.erase(stores.begin(), stores.begin() + finished);
}

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

void start_tensor_copy(void* to, const TensorMap* map, int x, int y, int z, void* barrier, unsigned ctas) {
  const size_t bytes = box_bytes(*map);
  check_box(*map, to);
  for (unsigned cta = 0; cta < block.num_ctas; cta++)
    if (ctas >> cta & 1) {
      char* target = in_cta(to, cta);
      const char* first = block.ctas[cta].dynamic_shared;
      if (target < first || target + bytes > first + block.shared_bytes)
        block.fail("a tensor copy reaches beyond the shared memory");
      memset(target, 0xFF, bytes);
      tensor_copies.push_back({target, *map, {x, y, z}, in_cta(barrier, cta), ctas});
    }
}

bool land_a_copy(Random& random) {
  if (tensor_copies.empty()) return false;
  std::swap(tensor_copies[random.below(tensor_copies.size())], tensor_copies.back());
  const TensorCopy copy = tensor_copies.back();
  tensor_copies.pop_back();
  for_box(copy.map, copy.first, [&](size_t place, const char* from) {
    char* to = swizzled(copy.to + place);
    const int bytes = int(copy.map.element_bytes);
    if (from)
      memcpy(to, from, bytes);
    else
      memset(to, 0, bytes);
    memcpy(async_view(to), to, bytes);
  });
  Mbarrier& barrier = mbarrier_at(copy.barrier);
  barrier.bytes -= int(box_bytes(copy.map));
  turn_if_complete(barrier);
  return true;
}

}  // namespace on_cpu

// Mbarriers and tensor copies: see hopper.h.
#include "hopper.h"

#include <algorithm>
#include <array>
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
  std::array<int, 4> first;
  std::array<int, 2> offset;  // im2col: of the tap in its window
  char* barrier;
};

// A store that has read its box, whose bytes are in memory when the launch has ended.
struct ReadStore {
  TensorMap map;
  std::array<int, 4> first;
  std::vector<char> box;
};

// Shared memory that threads have named at fences: what was in it when a thread last stopped or went on, and who has
// written each byte and not fenced since.
struct Watched {
  const char* at;
  std::vector<char> known;
  std::vector<int> writer;
  int threads;  // that have named it
};

constexpr int NOBODY = -1;
constexpr int MOST_BYTES = (1 << 20) - 1;  // that an mbarrier counts

std::map<const void*, Mbarrier> mbarriers;
std::vector<TensorCopy> tensor_copies;  // in the order of their issue, but for those that have landed
bool newest_first = false;              // whether the oldest land last, or any
std::vector<ReadStore> read_stores;
std::vector<Watched> watched_memory;

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

void check_map(const TensorMap& map, const void* to) {
  if (map.box[0] * map.element_bytes != 128) block.fail("a row of the box is not the 128 bytes of the swizzle");
  if (reinterpret_cast<uintptr_t>(to) % 1024) block.fail("a box in shared memory is not aligned to 1024 bytes");
  bool refused = reinterpret_cast<uintptr_t>(map.base) % 16 || (map.element_bytes != 2 && map.element_bytes != 4);
  for (int i = 0; i < 4; i++)
    refused |= map.size[i] < 1 || map.size[i] > 1ull << 32 || map.box[i] < 1 || map.box[i] > 256;
  for (int i = 1; i < 4; i++) refused |= map.size[i] > 1 && (map.stride[i] % 16 || map.stride[i] >= 1ull << 40);
  for (int i = 0; i < 2 && map.im2col; i++)
    refused |= map.lower[i] < -128 || map.lower[i] > 127 || map.upper[i] < -128 || map.upper[i] > 127 ||
               map.step[i] < 1 || map.step[i] > 8 || int64_t(map.size[i + 1]) + map.upper[i] <= map.lower[i];
  if (refused) block.fail("a tensor map that the driver would refuse");
}

// PTX ISA, "im2col mode": the first tap of the first window must be in the bounding box, offsets have 8 bits.
void check_window(const TensorMap& map, const int (&first)[4], int offset_w, int offset_h) {
  for (int i = 0; i < 2; i++)
    if (first[i + 1] < map.lower[i] || first[i + 1] >= int64_t(map.size[i + 1]) + map.upper[i])
      block.fail("a copy of im2col begins outside of its bounding box");
  if (offset_w < 0 || offset_w > 255 || offset_h < 0 || offset_h > 255)
    block.fail("an offset of im2col that is not from 0 to 255");
}

size_t box_bytes(const TensorMap& map) {
  return size_t(map.box[0]) * map.box[1] * map.box[2] * map.box[3] * map.element_bytes;
}

// What threads wrote there, and did not fence, could come after the copy; so could another copy.
void check_target(const char* to, size_t bytes) {
  for (const TensorCopy& other : tensor_copies)
    if (other.to < to + bytes && to < other.to + box_bytes(other.map))
      block.fail("two tensor copies to one place are under way at once");
  if (memcmp(to, async_view(to), bytes)) block.fail("a tensor copy to memory that a thread wrote and did not fence");
}

void start_copy(void* to, const TensorMap& map, std::array<int, 4> first, std::array<int, 2> offset, void* barrier,
                unsigned ctas) {
  const size_t bytes = box_bytes(map);
  if (ctas >> block.num_ctas) block.fail("a tensor copy to a block that the cluster does not have");
  for (unsigned cta = 0; cta < block.num_ctas; cta++)
    if (ctas >> cta & 1) {
      char* target = in_cta(to, cta);
      const char* shared = block.ctas[cta].dynamic_shared;
      if (target < shared || target + bytes > shared + block.shared_bytes)
        block.fail("a tensor copy reaches beyond the shared memory");
      check_target(target, bytes);
      memset(target, 0xFF, bytes);
      tensor_copies.push_back({target, map, first, offset, in_cta(barrier, cta)});
    }
}

// Elements `first` and on of the row (pixel) at `place` in dims 1 to 3, zeros outside; returns where the next row lies.
char* land_row(const TensorMap& map, char* to, int first, const std::array<int64_t, 3>& place) {
  const char* row = map.base;
  for (int i = 0; i < 3; i++) {
    if (place[i] < 0 || place[i] >= int64_t(map.size[i + 1])) row = nullptr;
    if (row) row += place[i] * map.stride[i + 1];
  }
  for (uint32_t x = 0; x < map.box[0]; x++, to += map.element_bytes) {
    const int64_t at = first + int64_t(x);
    if (row && at >= 0 && at < int64_t(map.size[0]))
      memcpy(swizzled(to), row + at * map.element_bytes, map.element_bytes);
    else
      memset(swizzled(to), 0, map.element_bytes);
  }
  return to;
}

char* land_box(const TensorCopy& copy) {
  char* to = copy.to;
  const uint32_t* box = copy.map.box;
  for (int64_t row = 0; row < int64_t(box[1]) * box[2] * box[3]; row++)
    to = land_row(copy.map, to, copy.first[0],
                  {copy.first[1] + row % box[1], copy.first[2] + row / box[1] % box[2],
                   copy.first[3] + row / box[1] / box[2]});
  return to;
}

// Window after window through the bounding box of an image, then of the next; of each the pixel under one tap.
char* land_pixels(const TensorCopy& copy) {
  const TensorMap& map = copy.map;
  char* to = copy.to;
  std::array<int64_t, 3> at = {copy.first[1], copy.first[2], copy.first[3]};
  for (uint32_t pixel = 0; pixel < map.box[1]; pixel++) {
    to = land_row(map, to, copy.first[0], {at[0] + copy.offset[0], at[1] + copy.offset[1], at[2]});
    for (int i = 0; i < 2; i++) {
      at[i] += map.step[i];
      if (at[i] < int64_t(map.size[i + 1]) + map.upper[i]) break;
      at[i] = map.lower[i];
      if (i == 1) at[2]++;
    }
  }
  return to;
}

// Call each(place in the box in bytes, the element's place in memory) for the elements of a box that are in the tensor.
template <class Each>
void for_box(const TensorMap& map, const std::array<int, 4>& first, Each each) {
  for (uint32_t i = 0; i < box_bytes(map) / map.element_bytes; i++) {
    char* to = const_cast<char*>(map.base);
    uint32_t rest = i;
    bool inside = true;
    for (int dim = 0; dim < 4; rest /= map.box[dim++]) {
      const int64_t at = first[dim] + int64_t(rest % map.box[dim]);
      inside &= at >= 0 && at < int64_t(map.size[dim]);
      to += at * (dim ? int64_t(map.stride[dim]) : map.element_bytes);
    }
    if (inside) each(size_t(i) * map.element_bytes, to);
  }
}

// What was written and not fenced, or changed while the store was under way, is NaN.
void read_store(const Store& store) {
  const size_t bytes = store.map.element_bytes;
  ReadStore read{store.map, store.first, std::vector<char>(store.before.size(), char(0xFF))};
  for (size_t place = 0; place < read.box.size(); place += bytes) {
    const char* now = swizzled(const_cast<char*>(store.from) + place);
    const size_t at = now - store.from;
    if (!memcmp(now, &store.before[at], bytes) && !memcmp(now, &store.seen[at], bytes))
      memcpy(&read.box[place], now, bytes);
  }
  read_stores.push_back(std::move(read));
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

// The first time by all who have written there; from then on it is known who has written what.
void fence_async(const void* written, size_t bytes) {
  const char* first = static_cast<const char*>(written);
  char* view = async_view(first);
  note_own_writes();
  const auto is_here = [&](const Watched& w) { return w.at == first && w.known.size() == bytes; };
  const auto found = std::find_if(watched_memory.begin(), watched_memory.end(), is_here);
  const int number = int(found - watched_memory.begin()), own = me().number;
  if (found == watched_memory.end())
    watched_memory.push_back({first, {first, first + bytes}, std::vector<int>(bytes, NOBODY), 0});
  std::vector<int>& named = me().watched;
  const bool again = std::find(named.begin(), named.end(), number) != named.end();
  if (!again) {
    named.push_back(number);
    watched_memory[number].threads++;
  }
  std::vector<int>& writer = watched_memory[number].writer;
  for (size_t i = 0; i < bytes; i++)
    if (!again || writer[i] == own) {
      view[i] = first[i];
      if (writer[i] == own) writer[i] = NOBODY;
    }
}

namespace {

void compare_watched(int writer) {
  for (int number : me().watched) {
    Watched& watched = watched_memory[number];
    if (writer == NOBODY && watched.threads % WARP == 0) continue;  // all lanes note their own writes
    const size_t bytes = watched.known.size();
    if (!memcmp(watched.at, watched.known.data(), bytes)) continue;
    for (size_t i = 0; i < bytes; i++)
      if (watched.at[i] != watched.known[i]) {
        watched.known[i] = watched.at[i];
        watched.writer[i] = writer;
      }
  }
}

}  // namespace

void note_own_writes() { compare_watched(me().number); }
void forget_other_writes() { compare_watched(NOBODY); }

void start_tensor_store(const TensorMap* map, unsigned rank, const int (&first)[4], const void* from) {
  if (map->im2col || rank != map->rank) block.fail("a tensor store by a map with another number of dims");
  check_map(*map, from);
  const size_t bytes = box_bytes(*map);
  const char *box = static_cast<const char*>(from), *seen = async_view(box);
  if (box + bytes > block.cta().dynamic_shared + block.shared_bytes)
    block.fail("a tensor store reaches beyond the shared memory");
  me().stores.push_back({box, {box, box + bytes}, {seen, seen + bytes}, *map, {}, me().store_group});
  std::copy(first, first + 4, me().stores.back().first.begin());
}

void commit_tensor_stores() { me().store_group++; }

void wait_tensor_stores(int pending) {
  std::vector<Store>& stores = me().stores;
  size_t finished = 0;
  for (; finished < stores.size() && stores[finished].group < me().store_group - pending; finished++)
    read_store(stores[finished]);
  stores.erase(stores.begin(), stores.begin() + finished);
}

void end_tensor_stores(bool writes) {
  for (const ReadStore& store : read_stores)
    if (writes)
      for_box(store.map, store.first,
              [&](size_t place, char* to) { memcpy(to, &store.box[place], store.map.element_bytes); });
  read_stores.clear();
}

void forget_copies(Random& random) {
  newest_first = random.below(2);
  mbarriers.clear();
  tensor_copies.clear();
  watched_memory.clear();
}

std::string left_copies() { return tensor_copies.empty() ? "" : "a block ends before its tensor copies landed"; }

void mbarrier_init(void* at, int count) {
  block.check_shared(at, 8);
  if (reinterpret_cast<uintptr_t>(at) % 8 || count < 1) block.fail("an mbarrier off alignment, or for nobody");
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
  if (b.bytes > MOST_BYTES) block.fail("an mbarrier waits for more bytes than it can count");
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
  if (map->im2col || rank != map->rank) block.fail("a tensor copy by a map with another number of dims");
  check_map(*map, to);
  start_copy(to, *map, {first[0], first[1], first[2], first[3]}, {0, 0}, barrier, ctas);
}

void start_im2col_copy(void* to, const TensorMap* map, const int (&first)[4], int offset_w, int offset_h, void* barrier,
                       unsigned ctas) {
  if (!map->im2col) block.fail("a copy of im2col by a tiled map");
  check_map(*map, to);
  check_window(*map, first, offset_w, offset_h);
  start_copy(to, *map, {first[0], first[1], first[2], first[3]}, {offset_w, offset_h}, barrier, ctas);
}

bool land_a_copy(Random& random) {
  if (tensor_copies.empty()) return false;
  const auto chosen = newest_first ? tensor_copies.end() - 1
                                   : tensor_copies.begin() + random.below(unsigned(tensor_copies.size()));
  const TensorCopy copy = *chosen;
  tensor_copies.erase(chosen);
  for (unsigned c = 0; c < block.num_ctas; c++) {
    const Cta& cta = block.ctas[c];
    if (copy.to >= cta.dynamic_shared && copy.to < cta.dynamic_shared + block.shared_bytes && !num_alive(cta))
      block.fail("a tensor copy lands in a block that has ended");
  }
  char* end = copy.map.im2col ? land_pixels(copy) : land_box(copy);
  memcpy(async_view(copy.to), copy.to, end - copy.to);
  Mbarrier& barrier = mbarrier_at(copy.barrier);
  barrier.bytes -= int(end - copy.to);
  turn_if_complete(barrier);
  return true;
}

}  // namespace on_cpu

// One thread block (or cluster of blocks) on one CPU core: a fiber per CUDA thread, run one at a time in an order drawn
// from a seed.
//
// A fiber runs until it waits: at a block barrier, at a warp barrier, or at its end. Who goes on is drawn at random, so
// that code which needs a barrier and has none meets an order that shows it. The draw is unfair: one warp is favoured
// for a while, of a length drawn too, so that warps get far ahead of each other where no barrier holds them.
// What CUDA leaves undefined is made to fail:
// - shared memory starts as NaN in every block;
// - a barrier that some threads never reach, or that threads reach on different lines, ends the launch with a message;
// - a warp operation whose mask lacks the caller, or names a lane that has ended, does too;
// - the target of an asynchronous copy is NaN from its issue to the wait that covers it.
// What Hopper adds (mbarriers, tensor copies, wgmma) is in hopper.h.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "fiber.h"

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// Static shared memory is a linker section of its own: this is how it is found again to be filled with NaN.
extern "C" char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));

namespace on_cpu {

constexpr int WARP = 32;
constexpr size_t GATHER_BYTES = 64;

struct Copy {
  char* to;
  const char* from;
  int bytes, valid, group;  // the last bytes - valid are zeros
};

// wgmma on its way: what it was given, and the sums before it. See hopper.h.
struct Product {
  uint64_t a, b;
  bool a_k_contiguous, b_k_contiguous, add, is_bf16;
  float* sums;
  int columns, group;
  bool done;
  std::vector<float> values;
};

struct Thread {
  Fiber fiber;
  dim3 index;
  int number, lane, warp, cta;  // cta: the block's rank in its cluster
  bool ended = false;
  const char* waits_at = nullptr;
  std::vector<Copy> copies;  // issued and not yet landed
  int group = 0;             // of asynchronous copies: the one that is open
  std::vector<Product> products;
  int product_group = 0;
  long num_products = 0;
  bool registers_fenced = false;
  std::vector<const void*> unfenced_barriers;
};

// A block of the cluster.
struct Cta {
  dim3 index;
  char* dynamic_shared = nullptr;
  std::vector<int> at_barrier;
  int barrier_line = 0, alive = 0;
};

// The lanes of one mask meet here again and again. Values are kept for two meetings: a lane that runs ahead writes to
// the other half, and cannot come back to the first before all have read it.
struct Meeting {
  std::vector<int> waiting;
  int half = 0;
  alignas(16) char values[2][WARP][GATHER_BYTES];
};

class Random {
 public:
  explicit Random(unsigned seed) : state_(seed * 2654435769u + 1) {}
  unsigned below(unsigned limit) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return unsigned(((state_ >> 33) * limit) >> 31);
  }

 private:
  uint64_t state_;
};

bool land_a_copy(Random& random);  // hopper.h: whether a tensor copy was on its way
void forget_async();
std::string left_async();  // what should have landed before the end, or ""

class Block {
 public:
  dim3 grid, size;
  std::vector<Cta> ctas;
  size_t shared_bytes = 0;  // of each
  Thread* current = nullptr;

  Cta& cta() { return ctas[current->cta]; }
  const std::vector<Thread>& threads() const { return threads_; }

  // Run the threads of all blocks of the cluster to their end. Returns what went wrong, or "".
  std::string run(void (*body)(), Stacks& stacks, Random& random) {
    const int in_block = int(size.x * size.y * size.z), count = in_block * int(ctas.size());
    const int warps_in_block = (in_block + WARP - 1) / WARP;
    forget_async();
    threads_.assign(count, {});
    warps_.assign(warps_in_block * ctas.size(), {});
    ready_.assign(warps_.size(), {});
    patience_ = 0;
    at_cluster_barrier_.clear();
    failure_.clear();
    alive_ = count;
    for (Cta& c : ctas) {
      c.at_barrier.clear();
      c.alive = in_block;
    }
    for (int i = 0; i < count; i++) {
      Thread& t = threads_[i];
      const int j = i % in_block;
      t.index = {j % size.x, j / size.x % size.y, j / (size.x * size.y)};
      t.number = i;
      t.cta = i / in_block;
      t.lane = j % WARP;
      t.warp = t.cta * warps_in_block + j / WARP;
      t.fiber.start(stacks.top(i), body);
      make_ready(i);
    }
    while (alive_ && failure_.empty()) {
      current = draw(random);
      if (!current) {
        if (land_a_copy(random)) continue;
        return failure_.empty() ? stuck() : failure_;
      }
      current->fiber.resume();
      if (!failure_.empty() || random.below(8)) continue;
      current = nullptr;
      land_a_copy(random);
    }
    return failure_.empty() ? left_async() : failure_;
  }

  // End the launch: this fiber is not resumed. (Not [[noreturn]], before which -fsanitize=address would clear what it
  // takes for the one stack of the thread; nor is end_thread.)
  void fail(const std::string& message) {
    failure_ = message;
    if (!current) return;  // a copy fails, not a thread
    const dim3 b = cta().index, t = current->index;
    char where[120];
    snprintf(where, sizeof where, ": block (%u, %u, %u), thread (%u, %u, %u)", b.x, b.y, b.z, t.x, t.y, t.z);
    failure_ += where;
    current->fiber.suspend();
  }

  void barrier(int line) {
    Cta& block = cta();
    if (block.at_barrier.empty()) block.barrier_line = line;
    if (line != block.barrier_line)
      fail("__syncthreads on lines " + std::to_string(block.barrier_line) + " and " + std::to_string(line) + " at once");
    block.at_barrier.push_back(current->number);
    release_barriers();
    wait("__syncthreads");
  }

  void cluster_barrier() {
    at_cluster_barrier_.push_back(current->number);
    release_barriers();
    wait("a cluster barrier");
  }

  // What each lane of `mask` passed, by lane; valid until this lane's next meeting under the same mask.
  const char* gather(unsigned mask, const void* value, size_t bytes) {
    if (!(mask >> current->lane & 1)) fail("the mask of a warp operation lacks the calling lane");
    const int first = current->number - current->lane;
    for (int lane = 0; lane < WARP; lane++)
      if ((mask >> lane & 1) && (!runs(first + lane)))
        fail("the mask of a warp operation names lane " + std::to_string(lane) + ", which does not run");
    Meeting& meeting = warps_[current->warp][mask];
    char(*values)[GATHER_BYTES] = meeting.values[meeting.half];
    memcpy(values[current->lane], value, bytes);
    meeting.waiting.push_back(current->number);
    if (int(meeting.waiting.size()) == __builtin_popcount(mask)) {
      meeting.half ^= 1;
      release(meeting.waiting);
    }
    wait("a warp operation");
    return values[0];
  }

  void start_copy(void* to, const void* from, int bytes, int valid) {
    if (reinterpret_cast<uintptr_t>(to) % bytes || (valid && reinterpret_cast<uintptr_t>(from) % bytes))
      fail("an asynchronous copy is not aligned to its size");
    memset(to, 0xFF, bytes);
    current->copies.push_back({static_cast<char*>(to), static_cast<const char*>(from), bytes, valid, current->group});
  }

  void commit_copies() { current->group++; }

  // Land the copies of all committed groups except the newest `pending`.
  void wait_copies(int pending) {
    size_t left = 0;
    for (const Copy& copy : current->copies) {
      if (copy.group >= current->group - pending) {
        current->copies[left++] = copy;
        continue;
      }
      memset(copy.to, 0, copy.bytes);
      memcpy(copy.to, copy.from, copy.valid);
    }
    current->copies.resize(left);
  }

  void end_thread() {
    if (!current->copies.empty()) fail("a thread ends before its asynchronous copies have landed");
    if (!current->products.empty()) fail("a thread ends before it has waited for its wgmma");
    current->ended = true;
    alive_--;
    cta().alive--;
    release_barriers();
    current->fiber.suspend();
  }

  void wait(const char* what) {
    current->waits_at = what;
    current->fiber.suspend();
  }

  void release(std::vector<int>& waiting) {
    for (int number : waiting) make_ready(number);
    waiting.clear();
  }

 private:
  std::vector<Thread> threads_;
  std::vector<std::map<unsigned, Meeting>> warps_;
  std::vector<std::vector<int>> ready_;  // by warp
  std::vector<int> at_cluster_barrier_;
  std::string failure_;
  int alive_ = 0, favourite_ = 0, patience_ = 0;

  void make_ready(int number) { ready_[threads_[number].warp].push_back(number); }
  bool runs(int number) const {  // a thread of this block?
    return number < int(threads_.size()) && threads_[number].cta == current->cta && !threads_[number].ended;
  }

  Thread* draw(Random& random) {
    constexpr int LONGEST = 12;  // the favour lasts up to 4096 turns, a hundred meetings of a warp
    if (patience_-- <= 0 || ready_[favourite_].empty()) {
      const int from = random.below(ready_.size()), count = int(ready_.size());
      int tried = 0;
      do {
        if (tried == count) return nullptr;
        favourite_ = (from + tried++) % count;
      } while (ready_[favourite_].empty());
      patience_ = 1 << random.below(LONGEST + 1);
    }
    std::vector<int>& ready = ready_[favourite_];
    std::swap(ready[random.below(ready.size())], ready.back());
    Thread* thread = &threads_[ready.back()];
    ready.pop_back();
    return thread;
  }

  void release_barriers() {  // ended threads do not count
    for (Cta& c : ctas)
      if (int(c.at_barrier.size()) == c.alive) release(c.at_barrier);
    if (int(at_cluster_barrier_.size()) == alive_) release(at_cluster_barrier_);
  }

  std::string stuck() {
    std::map<std::string, int> where;
    for (const Thread& t : threads_) where[t.ended ? "at their end" : std::string("at ") + t.waits_at]++;
    std::string message = "a barrier never completes:";
    for (const auto& [what, count] : where) message += " " + std::to_string(count) + " threads " + what + ",";
    message.back() = ' ';
    return message + "in block " + std::to_string(ctas[0].index.x) + ", " + std::to_string(ctas[0].index.y);
  }
};

inline Block block;
inline Stacks stacks;

}  // namespace on_cpu

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
#include "block.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

#include "observer.h"
#include "running.h"

namespace on_cpu {

Block block;
Observer* observer;

namespace {

// The lanes of one mask meet here again and again. Values are kept for two meetings: a lane that runs ahead writes to
// the other half, and cannot come back to the first before all have read it.
struct Meeting {
  std::vector<int> waiting;
  int half = 0;
  alignas(16) char values[2][WARP][GATHER_BYTES];
};

struct NamedBarrier {
  std::vector<int> waiting;
  int arrived = 0, count = 0;
};

const char* const SYNCTHREADS = "__syncthreads";
constexpr int ALL_REGISTERS = 64 << 10;  // of a multiprocessor

struct BlockBarrier {
  std::vector<int> waiting;
  int line = 0, alive = 0;
  NamedBarrier named[16];
  int registers_left = 0;  // that warps have given
  std::vector<int> wants_registers;
};

std::vector<RunningThread> threads;
std::vector<std::map<unsigned, Meeting>> warps;
std::vector<std::vector<int>> ready;  // by warp
std::vector<BlockBarrier> barriers;   // by block
std::vector<int> at_cluster_barrier;
std::string failure;
int alive = 0, favourite = 0, patience = 0;

void make_ready(int number) { ready[threads[number].warp].push_back(number); }

bool runs(int number) {  // a thread of this block?
  return number < int(threads.size()) && threads[number].cta == block.current->cta && !threads[number].ended;
}

void release_barriers() {  // ended threads do not count
  for (BlockBarrier& b : barriers) {
    if (int(b.waiting.size()) != b.alive) continue;
    const int in_block = int(threads.size() / barriers.size());
    if (observer && b.alive) observer->barrier(unsigned(&b - barriers.data()), b.line, in_block - b.alive);
    release(b.waiting);
  }
  if (int(at_cluster_barrier.size()) == alive) release(at_cluster_barrier);
}

RunningThread* draw(Random& random) {
  constexpr int LONGEST = 12;  // the favour lasts up to 4096 turns, a hundred meetings of a warp
  if (patience-- <= 0 || ready[favourite].empty()) {
    const int from = random.below(ready.size()), count = int(ready.size());
    int tried = 0;
    do {
      if (tried == count) return nullptr;
      favourite = (from + tried++) % count;
    } while (ready[favourite].empty());
    patience = 1 << random.below(LONGEST + 1);
  }
  std::vector<int>& of_warp = ready[favourite];
  std::swap(of_warp[random.below(of_warp.size())], of_warp.back());
  RunningThread* thread = &threads[of_warp.back()];
  of_warp.pop_back();
  return thread;
}

std::string stuck() {
  std::map<std::string, int> where;
  for (const RunningThread& t : threads) {
    std::string at = t.ended ? "at their end" : std::string("at ") + t.waits_at;
    if (!t.ended && t.waits_at == SYNCTHREADS) at += " on line " + std::to_string(barriers[t.cta].line);
    where[at]++;
  }
  std::string message = "a barrier never completes:";
  for (const auto& [what, count] : where) message += " " + std::to_string(count) + " threads " + what + ",";
  message.back() = ' ';
  return message + "in block " + std::to_string(block.ctas[0].index.x) + ", " + std::to_string(block.ctas[0].index.y);
}

void start(void (*body)(), Stacks& stacks) {
  const int in_block = int(block.size.x * block.size.y * block.size.z), count = in_block * int(block.num_ctas);
  const int warps_in_block = (in_block + WARP - 1) / WARP;
  const int registers = std::min(255, ALL_REGISTERS / in_block / 8 * 8);  // a compiler may count on all of them
  threads.assign(count, {});
  warps.assign(warps_in_block * block.num_ctas, {});
  ready.assign(warps.size(), {});
  barriers.assign(block.num_ctas, {{}, 0, in_block, {}, 0, {}});
  at_cluster_barrier.clear();
  failure.clear();
  alive = count;
  patience = 0;
  for (int i = 0; i < count; i++) {
    RunningThread& t = threads[i];
    const int j = i % in_block;
    t.index = {j % block.size.x, j / block.size.x % block.size.y, j / (block.size.x * block.size.y)};
    t.number = i;
    t.cta = i / in_block;
    t.lane = j % WARP;
    t.warp = t.cta * warps_in_block + j / WARP;
    t.stack_top = stacks.top(i);
    t.registers = registers;
    t.fiber.start(t.stack_top, body);
    make_ready(i);
  }
}

}  // namespace

std::string run(void (*body)(), Stacks& stacks, Random& random) {
  forget_copies(random);
  forget_products();
  start(body, stacks);
  const unsigned lateness = 8u << 4 * random.below(4);  // at most 32768 turns: copies land when nothing else goes on
  while (alive && failure.empty()) {
    RunningThread* thread = draw(random);
    block.current = thread;
    if (!thread) {
      if (land_a_copy(random)) continue;
      return failure.empty() ? stuck() : failure;
    }
    thread->fiber.resume();
    if (!failure.empty() || random.below(lateness)) continue;
    block.current = nullptr;
    land_a_copy(random);
  }
  return failure.empty() ? left_copies() : failure;
}

void wait(const char* what) {
  me().waits_at = what;
  note_own_writes();
  me().fiber.suspend();
  forget_other_writes();
}

void release(std::vector<int>& waiting) {
  for (int number : waiting) make_ready(number);
  waiting.clear();
}

int num_alive(const Cta& cta) { return barriers[&cta - block.ctas].alive; }

void Block::fail(const char* message) {
  failure = message;
  if (!current) return;  // a copy fails, not a thread
  const dim3 b = cta().index, t = current->index;
  char where[120];
  snprintf(where, sizeof where, ": block (%u, %u, %u), thread (%u, %u, %u)", b.x, b.y, b.z, t.x, t.y, t.z);
  failure += where;
  me().fiber.suspend();
}

void Block::check_shared(const void* at, size_t bytes) {
  const char* from = static_cast<const char*>(at);
  bool inside = from >= static_begin && from + bytes <= static_end;
  for (unsigned c = 0; c < num_ctas; c++)
    inside |= from >= ctas[c].dynamic_shared && from + bytes <= ctas[c].dynamic_shared + shared_bytes;
  if (!inside) fail("an address that should be in shared memory is not");
}

void Block::barrier(int line) {
  BlockBarrier& b = barriers[current->cta];
  if (b.waiting.empty()) b.line = line;
  if (line != b.line)
    fail(("__syncthreads on lines " + std::to_string(b.line) + " and " + std::to_string(line) + " at once").c_str());
  b.waiting.push_back(current->number);
  release_barriers();
  wait(SYNCTHREADS);
}

void Block::cluster_barrier() {
  at_cluster_barrier.push_back(current->number);
  release_barriers();
  wait("a cluster barrier");
}

void Block::named_barrier(int name, int count, bool waits) {
  if (name < 1 || name > 15) fail("a named barrier is not one of 1 to 15");
  gather(~0u, "", 0);  // a warp arrives as one
  NamedBarrier& b = barriers[current->cta].named[name];
  if (b.arrived == 0) b.count = count;
  if (count != b.count) fail("threads disagree on the count of a named barrier");
  if (waits) b.waiting.push_back(current->number);
  if (++b.arrived == count) {
    b.arrived = 0;
    release(b.waiting);
  }
  if (waits) wait("a named barrier");
}

// PTX ISA, "setmaxnreg": what is not given by others is waited for.
void Block::set_registers(int count, bool takes) {
  gather(~0u, "", 0);  // a warp as one
  RunningThread& t = me();
  BlockBarrier& b = barriers[t.cta];
  const int more = count - t.registers;
  if (takes ? more < 0 : more > 0) fail("registers are given by a larger number, or taken by a smaller one");
  while (more > b.registers_left) {
    b.wants_registers.push_back(t.number);
    wait("registers that nobody gives");
  }
  b.registers_left -= more;
  t.registers = count;
  release(b.wants_registers);
}

const char* Block::gather(unsigned mask, const void* value, size_t bytes) {
  if (!(mask >> current->lane & 1)) fail("the mask of a warp operation lacks the calling lane");
  const int first = current->number - current->lane;
  for (int lane = 0; lane < WARP; lane++)
    if ((mask >> lane & 1) && (!runs(first + lane)))
      fail(("the mask of a warp operation names lane " + std::to_string(lane) + ", which does not run").c_str());
  Meeting& meeting = warps[current->warp][mask];
  char(*values)[GATHER_BYTES] = meeting.values[meeting.half];
  memcpy(values[current->lane], value, bytes);
  meeting.waiting.push_back(current->number);
  if (int(meeting.waiting.size()) == __builtin_popcount(mask)) {
    meeting.half ^= 1;
    if (observer && !bytes) observer->warp_barrier(mask);
    release(meeting.waiting);
  }
  wait("a warp operation");
  return values[0];
}

void Block::start_copy(void* to, const void* from, int bytes, int valid) {
  if (reinterpret_cast<uintptr_t>(to) % bytes || (valid && reinterpret_cast<uintptr_t>(from) % bytes))
    fail("an asynchronous copy is not aligned to its size");
  if (valid < 0 || valid > bytes) fail("an asynchronous copy of fewer than 0 bytes, or of more than its size");
  check_shared(to, bytes);
  memset(to, 0xFF, bytes);
  me().copies.push_back({static_cast<char*>(to), static_cast<const char*>(from), bytes, valid, me().group});
}

void Block::atomic(const void* at, size_t bytes, const void* caller) {
  if (observer) observer->atomic(at, bytes, caller);
}

void Block::commit_copies() { me().group++; }

void Block::wait_copies(int pending) {
  RunningThread& t = me();
  size_t left = 0;
  for (const Copy& copy : t.copies) {
    if (copy.group >= t.group - pending) {
      t.copies[left++] = copy;
      continue;
    }
    memset(copy.to, 0, copy.bytes);
    memcpy(copy.to, copy.from, copy.valid);
    if (observer) observer->copied(copy.to, copy.bytes);
  }
  t.copies.resize(left);
}

void Block::end_thread() {
  if (!me().copies.empty()) fail("a thread ends before its asynchronous copies have landed");
  if (!me().stores.empty()) fail("a thread ends before its tensor stores have read shared memory");
  if (!me().products.empty()) fail("a thread ends before it has waited for its wgmma");
  const int group = me().number / (4 * WARP);
  for (const RunningThread& t : threads)
    if (t.ended && t.number / (4 * WARP) == group && t.registers != me().registers)
      fail("the warps of a warpgroup have different numbers of registers");
  me().ended = true;
  alive--;
  barriers[current->cta].alive--;
  release_barriers();
  me().fiber.suspend();
}

}  // namespace on_cpu

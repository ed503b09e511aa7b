#include "races.h"

#include <algorithm>

namespace lab {

using on_cpu::block;
using on_cpu::WARP;

Access access_of(const Stamp& stamp, int bytes) {
  const dim3 g = block.grid, b = block.size;
  const unsigned i = stamp.block, t = stamp.thread;
  Access a;
  const unsigned blocks[] = {i % g.x, i / g.x % g.y, i / g.x / g.y};
  const unsigned threads[] = {t % b.x, t / b.x % b.y, t / b.x / b.y};
  for (int axis = 0; axis < 3; axis++) {
    a.block[axis] = int(blocks[axis]);
    a.thread[axis] = int(threads[axis]);
  }
  a.way = Way(stamp.way);
  a.bytes = bytes;
  a.instruction = stamp.instruction;
  return a;
}

void Races::begin(const Memory& memory) {
  cells_.clear();
  for (const Array& array : memory.arrays) cells_.emplace_back((array.end - array.begin + 3) / 4);
}

void Races::begin_block(const Memory& memory, int threads) {
  for (size_t i = 0; i < memory.arrays.size(); i++)
    if (memory.arrays[i].space == SHARED) std::fill(cells_[i].begin(), cells_[i].end(), Cell());
  const dim3 g = block.grid, at = block.ctas[0].index;
  block_ = at.x + g.x * (at.y + g.y * at.z);
  epoch_ = 0;
  threads_in_block_ = threads;
  warps_.assign((threads + WARP - 1) / WARP, {});
  for (Warp& warp : warps_)
    for (int lane = 0; lane < WARP; lane++) warp.known[lane][lane] = 1;
}

void Races::warp_barrier(int warp, unsigned mask) {
  auto& known = warps_[warp].known;
  uint32_t joined[WARP] = {};
  for (int lane = 0; lane < WARP; lane++)
    for (int other = 0; mask >> lane & 1 && other < WARP; other++)
      joined[other] = std::max(joined[other], known[lane][other]);
  for (int lane = 0; lane < WARP; lane++) {
    if (!(mask >> lane & 1)) continue;
    std::copy(joined, joined + WARP, known[lane]);
    known[lane][lane]++;
  }
}

bool Races::ordered(const Stamp& before, const Stamp& now) const {
  if (before.block != now.block) return false;
  if (before.thread == now.thread || before.epoch != now.epoch) return true;
  if (before.thread / WARP != now.thread / WARP) return false;
  return before.clock <= warps_[now.thread / WARP].known[now.thread % WARP][before.thread % WARP];
}

void Races::report(Faults& faults, const Place& place, const Stamp& before, const Stamp& now) const {
  Fault* fault = faults.add(RACE, place.array, before.instruction, now.instruction);
  if (!fault) return;
  fault->offset = place.offset;
  fault->first = access_of(before, __builtin_popcount(before.bytes));
  fault->second = access_of(now, __builtin_popcount(now.bytes));
}

// Keep this read in place of one that is ordered before it, so that a later write meets the others.
void Races::remember_read(Cell& cell, const Stamp& now) const {
  int place = -1;
  for (int i = 0; i < Cell::READS && place < 0; i++)
    if (!cell.reads[i].instruction || ordered(cell.reads[i], now)) place = i;
  cell.reads[place < 0 ? Cell::READS - 1 : place] = now;
}

void Races::define(const Place& place, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) cells_[place.array][(place.offset + i) / 4].defined |= 1 << (place.offset + i) % 4;
}

void Races::access(const Memory& memory, const Place& place, size_t bytes, Way way, uint64_t instruction,
                   Faults& faults) {
  const on_cpu::Thread& t = *block.current;
  Stamp now;
  now.instruction = instruction;
  now.block = block_;
  now.epoch = epoch_;
  now.thread = uint16_t(t.number);
  now.clock = warps_[t.warp].known[t.lane][t.lane];
  now.way = way;
  const int64_t end = place.offset + int64_t(bytes);
  for (int64_t at = place.offset; at < end; at = at / 4 * 4 + 4) {
    Cell& cell = cells_[place.array][at / 4];
    const int first = int(at % 4), last = int(std::min<int64_t>(end - at / 4 * 4, 4));
    now.bytes = uint8_t(((1 << last) - 1) & ~((1 << first) - 1));
    const Place word{place.array, at, true};
    if (way != WRITE && memory.arrays[place.array].undefined && (cell.defined & now.bytes) != now.bytes)
      if (Fault* fault = faults.add(UNDEFINED, place.array, instruction, 0)) {
        fault->offset = at;
        fault->first = access_of(now, int(bytes));
      }
    const auto races = [&](const Stamp& before) {
      return before.instruction && before.bytes & now.bytes && !ordered(before, now) &&
             !(before.way == ATOMIC && way == ATOMIC);
    };
    if (races(cell.write)) report(faults, word, cell.write, now);
    if (way == READ) {
      remember_read(cell, now);
      continue;
    }
    for (const Stamp& read : cell.reads)
      if (races(read)) report(faults, word, read, now);
    cell.write = now;
    cell.defined |= now.bytes;
  }
}

}  // namespace lab

// Races: two threads touch the same word, one of them writes, and nothing orders the two accesses.
//
// In a block, __syncthreads orders everything before it before everything after it: an access bears the number of
// barriers that its block has passed. Within a warp, __syncwarp orders too: each lane has a clock, and knows of each
// other lane the clock up to which all is behind it (vector clocks: Lamport 1978; Flanagan and Freund 2009,
// "FastTrack"). Nothing orders blocks. So a race is found in whatever order the threads ran.
#pragma once
#include <cstdint>
#include <vector>

#include "../shim/block.h"
#include "faults.h"
#include "memory.h"

namespace lab {

struct Stamp {
  uint64_t instruction = 0;  // 0: none
  uint32_t block = 0, epoch = 0, clock = 0;
  uint16_t thread = 0;
  uint8_t bytes = 0;  // of the word, a bit each
  uint8_t way = READ;
};

struct Cell {
  static constexpr int READS = 4;
  Stamp write, reads[READS];
  uint8_t defined = 0;  // bytes that were written
};

class Races {
 public:
  void begin(const Memory& memory);  // of a launch
  void begin_block(const Memory& memory, int threads);
  void barrier() { epoch_++; }
  void warp_barrier(int warp, unsigned mask);
  void define(const Place& place, size_t bytes);  // written by nobody in particular
  void access(const Memory& memory, const Place& place, size_t bytes, Way way, uint64_t instruction, Faults& faults);

 private:
  struct Warp {
    uint32_t known[on_cpu::WARP][on_cpu::WARP];  // by lane: the clocks of the others
  };
  std::vector<std::vector<Cell>> cells_;  // by array
  std::vector<Warp> warps_;
  uint32_t block_ = 0, epoch_ = 0;
  int threads_in_block_ = 0;

  bool ordered(const Stamp& before, const Stamp& now) const;
  void report(Faults& faults, const Place& place, const Stamp& before, const Stamp& now) const;
  void remember_read(Cell& cell, const Stamp& now) const;
};

Access access_of(const Stamp& stamp, int bytes);

}  // namespace lab

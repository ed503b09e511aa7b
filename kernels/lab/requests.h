// Requests of warps: the accesses of 32 lanes that a GPU makes in one instruction, and the transactions that they need.
//
// Threads run one after the other here. The k-th time that a lane comes to an instruction since the last barrier is put
// together with the k-th time of the other lanes of its warp: the lanes of a GPU's warp do so where none of them has
// taken another number of turns of a loop.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "../shim/block.h"
#include "faults.h"
#include "memory.h"

namespace lab {

constexpr int BANKS = 32, BANK_BYTES = 4, SECTOR_BYTES = 32;

// One instruction's totals, over all warps. Python reads these records.
struct Line {
  uint64_t instruction;
  int32_t array, way, bytes;    // bytes of one lane
  int32_t worst, worst_least;   // transactions of the worst request, and the least that it needs
  int64_t requests, lanes;      // of a warp; of single lanes
  int64_t transactions, least;  // sectors of global memory, or turns of the 32 banks
  int64_t merged;               // turns where a compiler makes one access of a thread's neighboring words (16 bytes)
  int32_t worst_block[3], worst_warp;
  int64_t offsets[on_cpu::WARP];  // of the worst request, by lane; -1 for a lane that takes no part
};

class Requests {
 public:
  bool counting = false;
  int64_t barriers = 0;  // of all blocks

  void begin();  // of a launch
  void begin_block(dim3 at) { at_ = at; }
  void access(const Place& place, size_t bytes, Way way, uint64_t instruction);
  void flush(const Memory& memory);  // at a barrier, and at the end of a block
  const std::vector<Line>& lines() const { return lines_; }

 private:
  struct Event {
    int instruction;  // its number
    int array;
    int64_t offset;
  };
  struct Request {
    unsigned mask = 0;
    int array = 0;
    int64_t offsets[on_cpu::WARP];
  };
  dim3 at_;  // the block
  std::vector<Line> lines_;
  std::unordered_map<uint64_t, int> numbers_;
  std::vector<std::vector<Event>> events_;  // by thread

  using Chunks = std::vector<std::vector<int64_t>>;  // of a thread: the words that it touches, 16 bytes together

  void count(const Memory& memory, Line& line, const Request& request, int warp);
  Chunks chunks_of(size_t thread, int instruction) const;
  void count_merged(Line& line, int instruction, size_t first_thread) const;
};

}  // namespace lab

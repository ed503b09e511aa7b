// What is wrong with a launch: each kind of fault once for each pair of instructions, with a count.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lab {

enum Kind { RACE, OUTSIDE, UNDEFINED, MISALIGNED, ENDED_BEFORE_BARRIER, BEYOND_DIMENSION };
enum Way : int32_t { READ, WRITE, ATOMIC };

// One thread's access; Python reads these records.
struct Access {
  int32_t block[3] = {}, thread[3] = {};
  Way way = READ;
  int32_t bytes = 0;
  uint64_t instruction = 0;  // its place in the library
};

struct Fault {
  int32_t kind, array;
  int64_t offset;  // in bytes
  int64_t count;
  Access first, second;
  int32_t line;    // where it is known without an instruction
  int64_t number;  // of threads, or an index
  char type[32];   // of an array whose index is wrong
};

class Faults {
 public:
  std::vector<Fault> found;

  // Count a fault; return it where it is new.
  Fault* add(Kind kind, int array, uint64_t first, uint64_t second, int line = 0);

 private:
  static constexpr size_t MOST = 64;
};

}  // namespace lab

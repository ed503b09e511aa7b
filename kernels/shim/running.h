// The threads of a block as block.cpp and hopper.cpp see them: with their fibers, and what they have issued.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "block.h"
#include "fiber.h"
#include "hopper.h"

namespace on_cpu {

struct Copy {
  char* to;
  const char* from;
  int bytes, valid, group;
};

// wgmma on its way: what it was given, and the sums before it. See hopper.h.
struct Product {
  uint64_t a, b;
  const unsigned* rows;  // this lane's part of A where that is in registers, and what was in them
  unsigned rows_before[4];
  float row_values[2][16];
  bool a_k_contiguous, b_k_contiguous, add, is_bf16;
  float* sums;
  int columns, group;
  bool done;
  std::vector<float> values;
};

// A tensor store on its way: its box when it was issued, and as the async proxy saw it then.
struct Store {
  const char* from;
  std::vector<char> before, seen;
  TensorMap map;
  std::array<int, 4> first;
  int group;
};

struct RunningThread : Thread {
  Fiber fiber;
  bool ended = false;
  const char* waits_at = nullptr;
  std::vector<Copy> copies;  // issued and not yet landed
  int group = 0;             // of asynchronous copies: the one that is open
  std::vector<Product> products;
  int product_group = 0;
  long num_products = 0;
  bool registers_fenced = false;
  char* stack_top = nullptr;
  const char* fenced_from = nullptr;  // the registers at the last fence: from there to stack_top
  std::vector<char> fenced;
  int registers = 0;
  std::vector<const void*> unfenced_barriers;
  std::vector<Store> stores;
  int store_group = 0;
  std::vector<int> watched;  // shared memory that it has named at fences, by number
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

inline RunningThread& me() { return static_cast<RunningThread&>(*block.current); }

// block.cpp
void wait(const char* what);             // until released
void release(std::vector<int>& waiting);  // threads by their numbers
int num_alive(const Cta& cta);            // threads
// Run the threads of all blocks of the cluster to their end. Returns what went wrong, or "".
std::string run(void (*body)(), Stacks& stacks, Random& random);

// The swizzle of 128 bytes: bits 4 to 6 of an address are exchanged by its bits 7 to 9.
inline char* swizzled(char* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address);
  return reinterpret_cast<char*>(bits ^ (bits >> 7 & 7) << 4);
}

// hopper.cpp
char* async_view(const char* shared);  // what the async proxy sees of this place
void note_own_writes();     // before another thread runs,
void forget_other_writes();  // and after
void end_tensor_stores(bool writes);  // of a launch: they are in memory only now
bool land_a_copy(Random& random);  // whether a tensor copy was on its way
void forget_copies(Random& random);  // and draw the order in which those to come land
std::string left_copies();  // what should have landed before the end, or ""

// wgmma.cpp
extern Random moments;  // at which products read their factors
void forget_products();

}  // namespace on_cpu

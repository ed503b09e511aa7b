// The arrays of a launch, and the array that an address lies in, or nearest to which it lies.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lab {

enum Space { GLOBAL, SHARED };

struct Array {
  uintptr_t begin, end;
  Space space;
  bool undefined;  // holds nothing of use before it is written
};

struct Place {
  int array = -1;     // -1: an address that is no matter of the lab, such as one of the stack
  int64_t offset = 0;  // in bytes, from the array's begin
  bool inside = false;
};

class Memory {
 public:
  std::vector<Array> arrays;

  // Addresses from `begin` to `end` belong to arrays, or nobody should touch them.
  void add_region(uintptr_t begin, uintptr_t end) { regions_.push_back({begin, end}); }
  void clear() {
    arrays.clear();
    regions_.clear();
  }
  Place find(uintptr_t address, size_t bytes) const;

 private:
  struct Region {
    uintptr_t begin, end;
  };
  std::vector<Region> regions_;
};

}  // namespace lab

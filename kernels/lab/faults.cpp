#include "faults.h"

namespace lab {

Fault* Faults::add(Kind kind, int array, uint64_t first, uint64_t second, int line) {
  for (Fault& f : found)
    if (f.kind == kind && f.array == array && f.line == line && f.first.instruction == first &&
        f.second.instruction == second) {
      f.count++;
      return nullptr;
    }
  if (found.size() >= MOST) return nullptr;
  found.push_back({});
  Fault& fault = found.back();
  fault.kind = kind;
  fault.array = array;
  fault.count = 1;
  fault.line = line;
  return &fault;
}

}  // namespace lab

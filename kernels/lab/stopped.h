// A kernel that crashes, or does not end: where it was, as a line of JSON on a file of the parent's; then the end.
#pragma once
#include <cstdint>

namespace lab {

struct LastAccess {
  uintptr_t address;
  uint64_t instruction;
};
extern LastAccess last_access;

// Write to `file` where the kernel is when it crashes, or has taken so many seconds of a processor.
void watch(int file, unsigned seconds);

}  // namespace lab

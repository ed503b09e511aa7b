// The launch of a kernel, which every EXPORT_KERNEL calls.
#pragma once
#include <cstddef>

#pragma GCC visibility push(default)
namespace on_cpu {

extern void** kernel_arguments;

// The static shared memory of a library's kernels.
struct SharedMemory {
  char *begin, *end;
};

// Run `body` for every block of the grid, `cluster` of them at a time, in an order drawn from `seed`; 0, or 1 with the
// reason in `error`.
int launch(void (*body)(), SharedMemory memory, unsigned cluster, const unsigned* grid, const unsigned* size,
           size_t shared_bytes, void** arguments, unsigned seed, char* error, size_t error_bytes);

}  // namespace on_cpu
#pragma GCC visibility pop

// What wants to know of a launch as it goes: the lab (kernels/lab), which keeps account of every access to memory.
#pragma once
#include <cstddef>

#include "block.h"

#pragma GCC visibility push(default)
namespace on_cpu {

class Observer {
 public:
  virtual void begin_block() = 0;  // or a cluster of them, whose shared memory was just filled
  virtual void barrier(unsigned cta, int line, int ended) = 0;  // all threads of a block have met, but for `ended`
  virtual void warp_barrier(unsigned mask) = 0;  // __syncwarp by lanes of the current warp
  virtual void copied(const void* to, size_t bytes) = 0;  // an asynchronous copy has landed
  virtual void atomic(const void* at, size_t bytes, const void* caller) = 0;

 protected:
  ~Observer() = default;
};
extern Observer* observer;  // null: nobody

}  // namespace on_cpu
#pragma GCC visibility pop

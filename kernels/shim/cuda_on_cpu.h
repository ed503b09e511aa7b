// The CUDA language for g++: what the kernels of kernels/ use, each as a few lines of C++ over the library of block.h.
//     g++ -std=c++17 -O1 -shared -fPIC -include cuda_on_cpu.h -x c++ kernel.cu -x none shim.so
// CUDA_ON_CPU selects the C++ body of each PTX wrapper in kernels/common/.
#pragma once
#define CUDA_ON_CPU 1
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "block.h"
#include "hopper.h"
#include "launch.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((section("shared_memory")))

#define threadIdx (on_cpu::block.current->index)
#define blockIdx (on_cpu::block.cta().index)
#define blockDim (on_cpu::block.size)
#define gridDim (on_cpu::block.grid)
#define __syncthreads() on_cpu::block.barrier(__LINE__)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

template <class T>
T min(T a, T b) {
  return a < b ? a : b;
}
template <class T>
T max(T a, T b) {
  return a > b ? a : b;
}

namespace on_cpu {

inline int lane() { return block.current->lane; }

// What every lane of the warp passed, by lane.
template <class T>
struct Gathered {
  T of[WARP];
  Gathered(unsigned mask, const T& mine) {
    static_assert(sizeof(T) <= GATHER_BYTES && std::is_trivially_copyable_v<T>);
    const char* values = block.gather(mask, &mine, sizeof(T));
    for (int i = 0; i < WARP; i++)
      if (mask >> i & 1) memcpy(&of[i], values + i * GATHER_BYTES, sizeof(T));
  }
};

template <class T>
T shuffle(unsigned mask, T value, int from) {
  Gathered<T> all(mask, value);
  if (!(mask >> from & 1)) block.fail("a shuffle reads a lane outside its mask");
  return all.of[from];
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_cv_t<std::remove_reference_t<A>>*>(arguments[I])...);
}
template <class... A>
void call(void (*kernel)(A...), void** arguments) {
  call(kernel, arguments, std::index_sequence_for<A...>{});
}

}  // namespace on_cpu

inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned long long>(a) * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned __int128>(a) * b >> 64;
}
inline void __syncwarp(unsigned mask = ~0u) { on_cpu::block.gather(mask, "", 0); }
template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return on_cpu::shuffle(mask, value, from % on_cpu::WARP);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return on_cpu::shuffle(mask, value, on_cpu::lane() ^ bits);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int by) {
  const int from = on_cpu::lane() + by;
  return on_cpu::shuffle(mask, value, from < on_cpu::WARP ? from : on_cpu::lane());
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int by) {
  const int from = on_cpu::lane() - by;
  return on_cpu::shuffle(mask, value, from >= 0 ? from : on_cpu::lane());
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  on_cpu::Gathered<int> all(mask, predicate);
  unsigned found = 0;
  for (int i = 0; i < on_cpu::WARP; i++) found |= unsigned((mask >> i & 1) && all.of[i] != 0) << i;
  return found;
}

// One fiber runs at a time, so nothing more is needed for an atomic operation. The observer hears of it as of one: a
// function that is not instrumented tells it the address and the caller.
#define ON_CPU_ATOMIC(name, changed)                                                            \
  template <class T>                                                                            \
  __attribute__((noinline, no_sanitize("thread"))) T name(T* to, std::common_type_t<T> value) { \
    on_cpu::block.atomic(to, sizeof(T), __builtin_return_address(0));                           \
    const T old = *to;                                                                          \
    *to = changed;                                                                              \
    return old;                                                                                 \
  }
ON_CPU_ATOMIC(atomicAdd, old + value)
ON_CPU_ATOMIC(atomicSub, old - value)
ON_CPU_ATOMIC(atomicExch, value)
ON_CPU_ATOMIC(atomicMax, old < value ? value : old)
ON_CPU_ATOMIC(atomicMin, value < old ? value : old)
template <class T>
__attribute__((noinline, no_sanitize("thread"))) T atomicCAS(T* to, std::common_type_t<T> expected,
                                                            std::common_type_t<T> value) {
  on_cpu::block.atomic(to, sizeof(T), __builtin_return_address(0));
  const T old = *to;
  if (old == expected) *to = value;
  return old;
}

// Static shared memory is a linker section of its own: this is how it is found again to be filled with NaN.
extern "C" char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));

// The function that Python calls to launch `kernel`, `cluster` blocks at a time.
#define EXPORT_KERNEL(kernel, cluster)                                                                            \
  extern "C" __attribute__((visibility("default"))) int launch_##kernel(                                          \
      const unsigned* grid, const unsigned* block, size_t shared_bytes, void** arguments, unsigned seed,          \
      char* error, size_t error_bytes) {                                                                          \
    auto body = [] {                                                                                              \
      on_cpu::call(kernel, on_cpu::kernel_arguments);                                                             \
      on_cpu::block.end_thread();                                                                                 \
    };                                                                                                            \
    const on_cpu::SharedMemory memory{__start_shared_memory, __stop_shared_memory};                               \
    return on_cpu::launch(body, memory, cluster, grid, block, shared_bytes, arguments, seed, error, error_bytes); \
  }

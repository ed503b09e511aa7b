// What a kernel sees of the thread block (or cluster of blocks) in which it runs. The bodies are in a library that is
// built once for all kernels, and so are the headers of C++ that only they need: a kernel builds four times as fast.
#pragma once
#include <cstddef>
#include <cstdint>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#pragma GCC visibility push(default)
namespace on_cpu {

constexpr int WARP = 32;
constexpr size_t GATHER_BYTES = 64;

struct Thread {
  dim3 index;
  int number, lane, warp, cta;  // number, warp: in the cluster; cta: the block's rank in it
};

// A block of the cluster.
struct Cta {
  dim3 index;
  char* dynamic_shared = nullptr;
  char* async_view = nullptr;  // of that memory: what tensor stores and wgmma see of it
};

class Block {
 public:
  dim3 grid, size;
  Cta* ctas = nullptr;
  unsigned num_ctas = 0;
  size_t shared_bytes = 0;  // of each
  const char *static_begin = nullptr, *static_end = nullptr;  // static shared memory
  Thread* current = nullptr;

  Cta& cta() { return ctas[current->cta]; }

  // End the launch: this fiber is not resumed. (Not [[noreturn]], before which -fsanitize=address would clear what it
  // takes for the one stack of the thread; nor is end_thread.)
  void fail(const char* message);
  void check_shared(const void* at, size_t bytes);  // in the shared memory of the cluster?
  void barrier(int line);
  void cluster_barrier();
  void named_barrier(int name, int count, bool waits);
  void set_registers(int count, bool takes);
  // What each lane of `mask` passed, by lane; valid until this lane's next meeting under the same mask.
  const char* gather(unsigned mask, const void* value, size_t bytes);
  void start_copy(void* to, const void* from, int bytes, int valid);  // the last bytes - valid are zeros
  void atomic(const void* at, size_t bytes, const void* caller);  // tells the observer
  void commit_copies();
  void wait_copies(int pending);  // land the copies of all committed groups except the newest `pending`
  void end_thread();
};
extern Block block;

}  // namespace on_cpu
#pragma GCC visibility pop

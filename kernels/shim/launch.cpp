// The launch of a kernel: its blocks, or clusters of them, one after the other in an order drawn from the seed.
#include "launch.h"

#include <cstdio>
#include <numeric>
#include <utility>

#include "hopper.h"
#include "observer.h"
#include "running.h"

namespace on_cpu {

namespace {

Stacks stacks;  // of all launches: each guard page is a mapping, and takes the time of many threads

// Fill memory with NaN; it crosses the red zones that -fsanitize=address puts between the arrays.
__attribute__((no_sanitize_address, optimize("no-tree-loop-distribute-patterns"))) void poison(char* from, char* to) {
  for (; from < to; from++) *from = char(0xFF);
}

// Why a GPU would not launch this, or "".
std::string refused(unsigned cluster, const unsigned* grid, const unsigned* size, size_t shared_bytes) {
  constexpr size_t MOST_SHARED_BYTES = 227 << 10, MOST_THREADS = 1024;
  const size_t threads = size_t(size[0]) * size[1] * size[2];
  if (grid[0] % cluster) return "a grid that is not whole clusters";
  if (threads < 1 || threads > MOST_THREADS) return "a block does not have 1 to 1024 threads";
  return shared_bytes > MOST_SHARED_BYTES ? "a block has at most 227 KB of shared memory" : "";
}

}  // namespace

void** kernel_arguments;

int launch(void (*body)(), SharedMemory memory, unsigned cluster, const unsigned* grid, const unsigned* size,
           size_t shared_bytes, void** arguments, unsigned seed, char* error, size_t error_bytes) {
  std::vector<char> dynamic((cluster + 1) * SHARED_APART), async_view(cluster * SHARED_APART);
  char* shared = dynamic.data() + (SHARED_APART - reinterpret_cast<uintptr_t>(dynamic.data()) % SHARED_APART);
  Random random(seed);
  moments = Random(seed);
  std::vector<unsigned> order(size_t(grid[0]) * grid[1] * grid[2] / cluster);
  std::iota(order.begin(), order.end(), 0u);
  for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random.below(i)]);

  kernel_arguments = arguments;
  std::vector<Cta> ctas(cluster);
  block.grid = {grid[0], grid[1], grid[2]};
  block.size = {size[0], size[1], size[2]};
  block.shared_bytes = shared_bytes;
  block.ctas = ctas.data();
  block.num_ctas = cluster;
  block.static_begin = memory.begin;
  block.static_end = memory.end;
  std::string failure = refused(cluster, grid, size, shared_bytes);
  for (unsigned number : order) {
    if (!failure.empty()) break;
    for (unsigned c = 0; c < cluster; c++) {
      const unsigned i = number * cluster + c;
      ctas[c].index = {i % grid[0], i / grid[0] % grid[1], i / grid[0] / grid[1]};
      ctas[c].dynamic_shared = shared + c * SHARED_APART + SHARED_FIRST;
      ctas[c].async_view = async_view.data() + c * SHARED_APART;
      poison(ctas[c].dynamic_shared, ctas[c].dynamic_shared + shared_bytes);
      poison(ctas[c].async_view, ctas[c].async_view + shared_bytes);
    }
    poison(memory.begin, memory.end);
    if (observer) observer->begin_block();
    failure = run(body, stacks, random);
  }
  end_tensor_stores(failure.empty());
  snprintf(error, error_bytes, "%s", failure.c_str());
  return !failure.empty();
}

}  // namespace on_cpu

// The functions that the instrumented kernel calls, the observer that the shim calls, and those that Python calls.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>

#include "../shim/block.h"
#include "../shim/observer.h"
#include "faults.h"
#include "memory.h"
#include "races.h"
#include "requests.h"
#include "stopped.h"

namespace lab {

namespace {

using on_cpu::block;

Memory memory;
Faults faults;
Races races;
Requests requests;
uintptr_t library;  // where the kernel's library begins
int dynamic_array;  // of dynamic shared memory; -1 before the first block

uint64_t instruction_before(const void* caller) { return reinterpret_cast<uintptr_t>(caller) - 1 - library; }

Access here(Way way, size_t bytes, uint64_t instruction) {
  Stamp stamp;
  const dim3 g = block.grid, at = block.ctas[0].index;
  stamp.block = at.x + g.x * (at.y + g.y * at.z);
  stamp.thread = uint16_t(block.current->number);
  stamp.way = way;
  stamp.instruction = instruction;
  return access_of(stamp, int(bytes));
}

void touch(const void* address, size_t bytes, Way way, const void* caller, bool is_aligned = true) {
  if (!block.current || !block.num_ctas) return;
  const uintptr_t at = reinterpret_cast<uintptr_t>(address);
  const uint64_t instruction = instruction_before(caller);
  last_access = {at, instruction};
  const Place place = memory.find(at, bytes);
  if (place.array < 0) return;
  const bool is_power = (bytes & (bytes - 1)) == 0, misaligned = is_aligned && is_power && at % bytes;
  if (!place.inside || misaligned) {
    if (Fault* fault = faults.add(misaligned ? MISALIGNED : OUTSIDE, place.array, instruction, 0)) {
      fault->offset = place.offset;
      fault->first = here(way, bytes, instruction);
    }
    if (misaligned) block.fail("a misaligned access");
    return;
  }
  races.access(memory, place, bytes, way, instruction, faults);
  if (requests.counting) requests.access(place, bytes, way, instruction);
}

class Account : public on_cpu::Observer {
 public:
  void begin_block() override {
    requests.flush(memory);
    requests.begin_block(block.ctas[0].index);
    if (block.shared_bytes && dynamic_array < 0) add_dynamic();
    races.begin_block(memory, int(block.size.x * block.size.y * block.size.z));
  }
  void barrier(unsigned, int line, int ended) override {
    requests.flush(memory);
    requests.barriers++;
    races.barrier();
    if (!ended) return;
    if (Fault* fault = faults.add(ENDED_BEFORE_BARRIER, -1, 0, 0, line)) {
      fault->number = ended;
      fault->first = here(READ, 0, 0);
    }
  }
  void warp_barrier(unsigned mask) override { races.warp_barrier(block.current->warp, mask); }
  void copied(const void* to, size_t bytes) override {
    const Place place = memory.find(reinterpret_cast<uintptr_t>(to), bytes);
    if (place.inside) races.define(place, bytes);
  }
  void atomic(const void* at, size_t bytes, const void* caller) override { touch(at, bytes, ATOMIC, caller); }

 private:
  static void add_dynamic() {
    constexpr uintptr_t ROOM = 64 << 10;  // around it
    const uintptr_t begin = reinterpret_cast<uintptr_t>(block.ctas[0].dynamic_shared);
    dynamic_array = int(memory.arrays.size());
    memory.arrays.push_back({begin, begin + block.shared_bytes, SHARED, true});
    memory.add_region(begin, begin + block.shared_bytes + ROOM);
    races.begin(memory);
  }
};

Account account;

}  // namespace

}  // namespace lab

#define PUBLIC extern "C" __attribute__((visibility("default")))
using namespace lab;

#define LAB_ACCESS(bytes)                                                                                            \
  PUBLIC void __tsan_read##bytes(void* at) { touch(at, bytes, READ, __builtin_return_address(0)); }                  \
  PUBLIC void __tsan_write##bytes(void* at) { touch(at, bytes, WRITE, __builtin_return_address(0)); }                \
  PUBLIC void __tsan_unaligned_read##bytes(void* at) { touch(at, bytes, READ, __builtin_return_address(0), false); } \
  PUBLIC void __tsan_unaligned_write##bytes(void* at) { touch(at, bytes, WRITE, __builtin_return_address(0), false); }
LAB_ACCESS(1)
LAB_ACCESS(2)
LAB_ACCESS(4)
LAB_ACCESS(8)
LAB_ACCESS(16)
PUBLIC void __tsan_read_range(void* at, size_t bytes) { touch(at, bytes, READ, __builtin_return_address(0), false); }
PUBLIC void __tsan_write_range(void* at, size_t bytes) { touch(at, bytes, WRITE, __builtin_return_address(0), false); }
PUBLIC void __tsan_init() {}
PUBLIC void __tsan_func_entry(void*) {}
PUBLIC void __tsan_func_exit() {}
PUBLIC void __tsan_vptr_update(void*, void*) {}
PUBLIC void __tsan_vptr_read(void*) {}

// -fsanitize=bounds: an index beyond the dimension of an array whose size the compiler knows, in registers too.
struct BoundsData {
  struct {
    const char* file;
    uint32_t line, column;
  } at;
  const struct Type {
    uint16_t kind, info;
    char name[1];
  } *array_type, *index_type;
};
PUBLIC void __ubsan_handle_out_of_bounds(const BoundsData* data, uintptr_t index) {
  if (!block.current) return;
  const uint64_t instruction = instruction_before(__builtin_return_address(0));
  if (Fault* fault = faults.add(BEYOND_DIMENSION, -1, instruction, 0, int(data->at.line))) {
    fault->number = data->index_type->info & 1 ? int64_t(int32_t(index)) : int64_t(index);
    fault->first = here(READ, 0, instruction);
    snprintf(fault->type, sizeof fault->type, "%s", data->array_type->name);
  }
  block.fail("an index beyond its array");
}

// Forget the last launch; return where the library with the function `kernel` begins.
PUBLIC uintptr_t lab_begin(const void* kernel, int counting) {
  Dl_info info{};
  dladdr(kernel, &info);
  library = reinterpret_cast<uintptr_t>(info.dli_fbase);
  memory.clear();
  faults.found.clear();
  requests.begin();
  requests.counting = counting;
  dynamic_array = -1;
  on_cpu::observer = &account;
  return library;
}
PUBLIC void lab_region(uintptr_t begin, uintptr_t end) { memory.add_region(begin, end); }
PUBLIC void lab_array(uintptr_t begin, size_t bytes, int is_shared, int undefined) {
  memory.arrays.push_back({begin, begin + bytes, is_shared ? SHARED : GLOBAL, undefined != 0});
}
PUBLIC void lab_start() { races.begin(memory); }
PUBLIC void lab_end() {
  block.current = nullptr;
  requests.flush(memory);
  on_cpu::observer = nullptr;
}
PUBLIC int lab_faults(const Fault** first) {
  *first = faults.found.data();
  return int(faults.found.size());
}
PUBLIC int lab_lines(const Line** first) {
  *first = requests.lines().data();
  return int(requests.lines().size());
}
PUBLIC int64_t lab_barriers() { return requests.barriers; }
PUBLIC void lab_watch(int file, unsigned seconds) { watch(file, seconds); }

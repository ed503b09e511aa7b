#include "memory.h"

namespace lab {

namespace {

uintptr_t distance(const Array& array, uintptr_t address) {
  if (address < array.begin) return array.begin - address;
  return address < array.end ? 0 : address - array.end + 1;
}

}  // namespace

Place Memory::find(uintptr_t address, size_t bytes) const {
  for (const Region& region : regions_) {
    if (address < region.begin || address >= region.end) continue;
    Place place;
    uintptr_t least = UINTPTR_MAX;
    for (size_t i = 0; i < arrays.size(); i++) {
      const Array& array = arrays[i];
      const bool here = array.begin >= region.begin && array.end <= region.end;
      if (!here || distance(array, address) >= least) continue;
      least = distance(array, address);
      place.array = int(i);
      place.offset = int64_t(address - array.begin);
      place.inside = address >= array.begin && address + bytes <= array.end;
    }
    return place;
  }
  return {};
}

}  // namespace lab

// ldmatrix (sm_75): a warp loads four matrices of 8 rows x 16 bytes from shared memory, in the layout that mma needs.
// Lane l passes the address of row l % 8 of matrix l / 8. Of matrix i it receives, in r[i], bytes 4 (l % 4) to
// 4 (l % 4) + 3 of row l / 4; transposed (of 2-byte elements), elements 2 (l % 4) and 2 (l % 4) + 1 of column l / 4.
// PTX ISA, "Warp-level matrix load instruction: ldmatrix".
#pragma once
#include "common/ptx/shared.cuh"

#ifdef CUDA_ON_CPU
namespace on_cpu {

using Row = const unsigned char*;

inline Gathered<Row> gather_rows(Row row) {
  if (reinterpret_cast<uintptr_t>(row) % 16) block.fail("a row of ldmatrix is not aligned to 16 bytes");
  block.check_shared(row, 16);
  return {~0u, row};
}

}  // namespace on_cpu
#endif

__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const unsigned char* row) {
#ifdef CUDA_ON_CPU
  const auto rows = on_cpu::gather_rows(row);
  const int lane = on_cpu::lane();
  for (int i = 0; i < 4; i++) memcpy(&r[i], rows.of[8 * i + lane / 4] + 4 * (lane % 4), 4);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}

__device__ __forceinline__ void ldmatrix_x4_transposed(unsigned (&r)[4], const unsigned char* row) {
#ifdef CUDA_ON_CPU
  const auto rows = on_cpu::gather_rows(row);
  const int lane = on_cpu::lane();
  for (int i = 0; i < 4; i++) {
    unsigned short pair[2];
    for (int j = 0; j < 2; j++) memcpy(&pair[j], rows.of[8 * i + 2 * (lane % 4) + j] + 2 * (lane / 4), 2);
    r[i] = pair[0] | unsigned(pair[1]) << 16;
  }
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}

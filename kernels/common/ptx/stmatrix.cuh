// stmatrix (sm_90): a warp stores four matrices of 8 rows x 16 bytes to shared memory, the reverse of ldmatrix. Lane l
// passes the address of row l % 8 of matrix l / 8; r[i] holds bytes 4 (lane % 4) to 4 (lane % 4) + 3 of row lane / 4 of
// matrix i, or, transposed (of 2-byte elements), elements 2 (lane % 4) and 2 (lane % 4) + 1 of its column lane / 4.
// Sums of mma or wgmma, rounded to bf16 in pairs, are such matrices: 8 columns of 8 rows each.
// PTX ISA, "Warp-level matrix store instruction: stmatrix".
#pragma once
#include "common/ptx/shared.cuh"

#ifdef CUDA_ON_CPU
namespace on_cpu {

// This lane's part of the four matrices goes to the rows whose addresses the other lanes pass.
inline void store_matrices(unsigned char* row, const unsigned (&r)[4], bool transposed) {
  if (reinterpret_cast<uintptr_t>(row) % 16) block.fail("a row of stmatrix is not aligned to 16 bytes");
  block.check_shared(row, 16);
  const Gathered<unsigned char*> rows(~0u, row);
  const int lane = on_cpu::lane();
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 2; j++) {
      const unsigned short half = r[i] >> (16 * j);
      const int at_row = transposed ? lane % 4 * 2 + j : lane / 4, at_col = transposed ? lane / 4 : lane % 4 * 2 + j;
      memcpy(rows.of[8 * i + at_row] + 2 * at_col, &half, 2);
    }
}

}  // namespace on_cpu
#endif

__device__ __forceinline__ void stmatrix_x4(unsigned char* row, const unsigned (&r)[4]) {
#ifdef CUDA_ON_CPU
  on_cpu::store_matrices(row, r, false);
#else
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)), "r"(r[0]),
               "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
#endif
}

__device__ __forceinline__ void stmatrix_x4_transposed(unsigned char* row, const unsigned (&r)[4]) {
#ifdef CUDA_ON_CPU
  on_cpu::store_matrices(row, r, true);
#else
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
#endif
}

// wgmma of every width, a kernel each, for test_compile_gemm.py: its instructions must be there, and its sums in registers.
// Arch: sm_90a
#include "common/ptx/wgmma.cuh"

template <int GROUPS>
__device__ __forceinline__ void products(unsigned long long a, unsigned long long b, unsigned row, float* out) {
  float d[GROUPS][4] = {};
  unsigned rows[4] = {row, row + 1, row + 2, row + 3};
  wgmma_fence(d);
  wgmma<true, true, false>(d, a, b, true);
  wgmma<false, true, true>(d, a, b, true);
  wgmma<true>(d, rows, b, true);
  wgmma_commit();
  wgmma_wait(d);
  for (int i = 0; i < 4 * GROUPS; i++) out[i * blockDim.x + threadIdx.x] = d[i / 4][i % 4];
}

#define KERNEL(g, columns, next)                                                                                   \
  extern "C" __global__ void __launch_bounds__(128) width_##columns(unsigned long long a, unsigned long long b,    \
                                                                    unsigned row, float* out) {                    \
    products<g>(a, b, row, out);                                                                                   \
  }
EACH_WGMMA(KERNEL)

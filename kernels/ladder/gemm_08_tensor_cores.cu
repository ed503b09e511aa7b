// Ladder 8, tensor cores: as rung 7, but a warp multiplies 16 x 8 x 16 in one instruction
// Arch: sm_80
// Shapes: a (M, K), b (K, N) bf16, out (M, N) fp32, row-major; any M, N, K
// Launch: grid (ceil N / 128, ceil M / 128), block 256
// Roofline: 2MNK operations, at 16 times the rate of fp32. Oracle: ops/matmul.py. Source: PTX ISA, mma, ldmatrix.
//
// Factors are bf16, sums stay fp32. mma needs its operands spread over the lanes in its own layout, and ldmatrix
// brings them: eight rows of 16 bytes a matrix, four matrices at once, b transposed on the way. Rows are padded by 16
// bytes, so that eight of them are in different banks.
#include "common/ptx/ldmatrix.cuh"
#include "common/ptx/mma.cuh"
#include "common/vec.cuh"
#include "products/fragments.cuh"

#define TILE_M 128
#define TILE_N 128
#define TILE_K 32
#define WARP_M 64
#define WARP_N 32
#define THREADS 256
constexpr int WIDE = 8;  // bf16 in 16 bytes
static_assert(TILE_M / WARP_M * (TILE_N / WARP_N) * 32 == THREADS, "warps cover the tile");

// Rows `first` to first + ROWS of a matrix, COLS wide from `col` on; zeros outside.
template <int ROWS, int COLS>
__device__ __forceinline__ void bring(bf16 (&tile)[ROWS][COLS + WIDE], const bf16* matrix, int first, int col, int rows,
                                      int cols) {
  constexpr int APART = THREADS / (COLS / WIDE);  // rows between a thread's pieces
  static_assert(ROWS % APART == 0, "threads share the loads evenly");
  const bool aligned = rows_aligned<WIDE>(matrix, cols);
  const int x = threadIdx.x % (COLS / WIDE) * WIDE;
#pragma unroll
  for (int i = 0; i < ROWS; i += APART) {
    const int y = threadIdx.x / (COLS / WIDE) + i, count = first + y < rows ? cols - col - x : 0;
    store<WIDE>(&tile[y][x], load<WIDE>(matrix + (long long)(first + y) * cols + col + x, count, aligned), WIDE, true);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
gemm_08_tensor_cores(const bf16* a, const bf16* b, float* out, int m, int n, int k) {
  __shared__ __align__(16) bf16 a_tile[TILE_M][TILE_K + WIDE], b_tile[TILE_K][TILE_N + WIDE];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row = warp / (TILE_N / WARP_N) * WARP_M, col = warp % (TILE_N / WARP_N) * WARP_N;
  const int second = lane / 8 % 2 * 8, third = lane / 16 * 8;  // the matrix of the row that this lane passes
  float sums[WARP_M / 16][WARP_N / 8][4] = {};
  for (int k0 = 0; k0 < k; k0 += TILE_K) {
    bring<TILE_M, TILE_K>(a_tile, a, blockIdx.y * TILE_M, k0, m, k);
    bring<TILE_K, TILE_N>(b_tile, b, k0, blockIdx.x * TILE_N, k, n);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TILE_K; i += 16) {
      unsigned a_values[WARP_M / 16][4], b_values[WARP_N / 16][4];
#pragma unroll
      for (int r = 0; r < WARP_M / 16; r++)
        ldmatrix_x4(a_values[r],
                    reinterpret_cast<unsigned char*>(&a_tile[row + 16 * r + second + lane % 8][i + third]));
#pragma unroll
      for (int c = 0; c < WARP_N / 16; c++)
        ldmatrix_x4_transposed(b_values[c],
                               reinterpret_cast<unsigned char*>(&b_tile[i + second + lane % 8][col + 16 * c + third]));
#pragma unroll
      for (int r = 0; r < WARP_M / 16; r++)
#pragma unroll
        for (int c = 0; c < WARP_N / 8; c++) {
          const unsigned pair[2] = {b_values[c / 2][c % 2 * 2], b_values[c / 2][c % 2 * 2 + 1]};
          mma_m16n8k16_bf16(sums[r][c], a_values[r], pair);
        }
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < WARP_M / 16; r++)
    write_fragments(out, m, n, blockIdx.y * TILE_M + row + 16 * r, blockIdx.x * TILE_N + col, sums[r]);
}

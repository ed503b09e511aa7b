// Ladder 9, swizzle: as rung 8, but pieces of 16 bytes change places within a row instead of rows being padded
// Arch: sm_80
// Shapes: a (M, K), b (K, N) bf16, out (M, N) fp32, row-major; any M, N, K
// Launch: grid (ceil N / 128, ceil M / 128), block 256
// Roofline: as rung 8. Oracle: ops/matmul.py. Source: Kerr et al. 2017, "CUTLASS", shared memory layouts.
//
// The eight rows that ldmatrix reads at the same column have to lie in different banks. Padding moves each row 16
// bytes further, and costs an eighth of shared memory (here 18944 bytes become 16384), and rows that no longer begin
// at multiples of 128 bytes. An exclusive or of the piece's number with the row's moves nothing but the piece: a row
// keeps its 16-byte pieces, in another order. That is the layout of every rung from here on, and the one that the copy
// engine of Hopper writes. gemm_mma.cu continues from here: cp.async, a ring, factors in either layout.
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

// The place of element (y, x) of a tile, x a multiple of WIDE. Eight neighboring rows at one x are in different banks:
// where a row is shorter than the 128 bytes of all banks, it changes with every second (or fourth) row.
template <int ROWS, int COLS>
__device__ __forceinline__ bf16* at(bf16 (&tile)[ROWS][COLS], int y, int x) {
  constexpr int PIECES = COLS / WIDE, SAME = PIECES < 8 ? 8 / PIECES : 1;
  return &tile[y][(x / WIDE ^ y / SAME % (8 / SAME)) * WIDE];
}

// Rows `first` to first + ROWS of a matrix, COLS wide from `col` on; zeros outside.
template <int ROWS, int COLS>
__device__ __forceinline__ void bring(bf16 (&tile)[ROWS][COLS], const bf16* matrix, int first, int col, int rows,
                                      int cols) {
  constexpr int APART = THREADS / (COLS / WIDE);  // rows between a thread's pieces
  static_assert(ROWS % APART == 0, "threads share the loads evenly");
  const bool aligned = rows_aligned<WIDE>(matrix, cols);
  const int x = threadIdx.x % (COLS / WIDE) * WIDE;
#pragma unroll
  for (int i = 0; i < ROWS; i += APART) {
    const int y = threadIdx.x / (COLS / WIDE) + i, count = first + y < rows ? cols - col - x : 0;
    const auto piece = load<WIDE>(matrix + (long long)(first + y) * cols + col + x, count, aligned);
    store<WIDE>(at(tile, y, x), piece, WIDE, true);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
gemm_09_swizzle(const bf16* a, const bf16* b, float* out, int m, int n, int k) {
  __shared__ __align__(16) bf16 a_tile[TILE_M][TILE_K], b_tile[TILE_K][TILE_N];
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
                    reinterpret_cast<unsigned char*>(at(a_tile, row + 16 * r + second + lane % 8, i + third)));
#pragma unroll
      for (int c = 0; c < WARP_N / 16; c++)
        ldmatrix_x4_transposed(
            b_values[c], reinterpret_cast<unsigned char*>(at(b_tile, i + second + lane % 8, col + 16 * c + third)));
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

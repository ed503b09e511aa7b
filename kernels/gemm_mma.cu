// Matrix product on tensor cores, sm_80 and later: out = epilogue(alpha A B + beta C), summed in fp32
// Arch: sm_80
// Shapes: A (M, K), B (K, N), C, out, pre (M, N), row-major with leading dims; bias (N,). See common/gemm.cuh.
// Types: INPUT_BF16, OUTPUT_BF16 of common/types.cuh
// Launch: grid (tiles of out, splits, batch), THREADS per block, SHARED_BYTES dynamic shared memory; slabs of WARP_M;
//     one block an SM: for two, registers would spill
// Roofline: 2MNK operations for s (MK + KN + 2MN) bytes, s = 4 or 2; compute-bound from about 1024^3 up. On Hopper this
//     instruction reaches about 40 % of the peak: gemm_wgmma is for that. Oracle: ops/matmul.py. Source: PTX ISA, mma,
//     ldmatrix, cp.async; Kerr et al. 2017, "CUTLASS".
//
// A ring of STAGES tiles in shared memory: cp.async fills it STAGES - 1 ahead of the multiplication, without registers.
// Tiles keep the order of their matrix, so that every copy is 16 bytes along memory; the layout of an operand only
// changes how its fragments are read. A tile is TILE_K deep, 128 bytes, and mma consumes 32 of them a step: seen as
// bytes, tf32 and bf16 are the same.
#include "common/async_copy.cuh"
#include "common/fragments.cuh"
#include "common/gemm.cuh"
#include "common/ldmatrix.cuh"
#include "common/mma.cuh"
#include "common/types.cuh"

#ifndef TILE_M
#define TILE_M 128
#define TILE_N 128
#define WARP_M 64
#define WARP_N 32
#endif
#ifndef STAGES
#define STAGES 3
#endif
#define THREADS (TILE_M / WARP_M * (TILE_N / WARP_N) * 32)
#define SHARED_BYTES (STAGES * (TILE_M + TILE_N) * 128)

constexpr int CHUNK_BYTES = 16;                       // of one cp.async, and of one row of ldmatrix
constexpr int CHUNK = CHUNK_BYTES / sizeof(Input);    // elements
constexpr int TILE_K = 128 / sizeof(Input);
constexpr int MMA_K = 2 * CHUNK;                      // 32 bytes: k of one mma
constexpr int SLAB = 16;                              // rows of A, or columns of B, in one load of fragments
constexpr int SLABS_M = WARP_M / SLAB, SLABS_N = WARP_N / SLAB;

static_assert(TILE_M % WARP_M == 0 && TILE_N % WARP_N == 0, "warps cover the tile");
static_assert(WARP_M % SLAB == 0 && WARP_N % SLAB == 0, "slabs cover the warp's part");
static_assert(SLAB == 16, "the height of a fragment");
static_assert(TILE_M % 64 == 0 && TILE_N % 64 == 0, "a row of either layout has at least the 8 chunks that swizzle");
static_assert(TILE_M * 128 % (THREADS * CHUNK_BYTES) == 0, "threads share the copies of A evenly");
static_assert(TILE_N * 128 % (THREADS * CHUNK_BYTES) == 0, "threads share the copies of B evenly");
static_assert(STAGES >= 2, "one stage fills while another is read");
static_assert(SHARED_BYTES <= 227 * 1024, "a block has at most 227 KB of shared memory");

// A tile of A or B: EXTENT rows or columns, TILE_K deep, in rows of chunks in the layout of its matrix (K_CONTIGUOUS or
// not). The chunks of a row are permuted by the row's number (swizzled), so that the eight rows that ldmatrix reads at
// one chunk are in different banks. So are the four rows, two chunks wide, of tf32 fragments read element by element.
template <int EXTENT, bool K_CONTIGUOUS>
struct Operand {
  static constexpr int ROWS = K_CONTIGUOUS ? EXTENT : TILE_K;
  static constexpr int ROW_CHUNKS = (K_CONTIGUOUS ? TILE_K : EXTENT) / CHUNK;
  static constexpr int BYTES = EXTENT * 128;
  static constexpr bool BY_ELEMENT = !K_CONTIGUOUS && sizeof(Input) == 4;  // ldmatrix transposes 2-byte elements only
  static_assert(ROWS * ROW_CHUNKS * CHUNK_BYTES == BYTES, "chunks fill the tile");

  static __device__ __forceinline__ int offset(int row, int chunk) {
    const int swizzle = BY_ELEMENT ? row % 4 * 2 : row % 8;
    return (row * ROW_CHUNKS + (chunk ^ swizzle)) * CHUNK_BYTES;
  }

  // Start copying the tile at (first, k0) of a matrix, with zeros outside of it. A matrix whose rows are not aligned to
  // 16 bytes goes through registers instead.
  static __device__ __forceinline__ void fetch(unsigned char* tile, const Input* matrix, int ld, int first, int k0,
                                               int extent, int depth, bool aligned) {
    const int rows = K_CONTIGUOUS ? extent : depth, cols = K_CONTIGUOUS ? depth : extent;
    const int first_row = K_CONTIGUOUS ? first : k0, first_col = K_CONTIGUOUS ? k0 : first;
#pragma unroll
    for (int i = threadIdx.x; i < ROWS * ROW_CHUNKS; i += THREADS) {
      const int row = first_row + i / ROW_CHUNKS, col = first_col + i % ROW_CHUNKS * CHUNK;
      const int count = row < rows ? max(0, min(CHUNK, cols - col)) : 0;
      const Input* from = count ? matrix + (long long)row * ld + col : matrix;
      unsigned char* to = tile + offset(i / ROW_CHUNKS, i % ROW_CHUNKS);
      if (aligned) {
        copy16_async(to, from, count * int(sizeof(Input)));
      } else {
        store<CHUNK>(reinterpret_cast<Input*>(to), load<CHUNK>(from, count, false), CHUNK, true);
      }
    }
  }

  // The fragments of one slab and one mma step: r[0] and r[1] hold the slab's lower and upper 8 at the first 16 bytes
  // of k, r[2] and r[3] at the second. That is the layout of mma for A; for B, whose fragments are 8 wide, two at once.
  static __device__ __forceinline__ void fragments(unsigned (&r)[4], const unsigned char* tile, int first, int k) {
    const int lane = threadIdx.x % 32;
    const int upper = lane / 8 % 2, second = lane / 16;  // the matrix whose row this lane passes to ldmatrix
    if (K_CONTIGUOUS) {
      ldmatrix_x4(r, tile + offset(first + 8 * upper + lane % 8, k / CHUNK + second));
    } else if (!BY_ELEMENT) {
      ldmatrix_x4_transposed(r, tile + offset(k + 8 * second + lane % 8, first / CHUNK + upper));
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int row = k + i / 2 * 4 + lane % 4, col = first + i % 2 * 8 + lane / 4;
        r[i] = reinterpret_cast<const unsigned*>(tile + offset(row, col / CHUNK))[col % CHUNK];
      }
    }
    if (sizeof(Input) == 4) {
#pragma unroll
      for (int i = 0; i < 4; i++) r[i] = to_tf32(r[i]);
    }
  }
};

using OperandA = Operand<TILE_M, !TRANSPOSE_A>;
using OperandB = Operand<TILE_N, TRANSPOSE_B>;
using Sums = float[SLABS_M][2 * SLABS_N][4];
constexpr int STAGE_BYTES = OperandA::BYTES + OperandB::BYTES;
static_assert(STAGES * STAGE_BYTES == SHARED_BYTES, "stages fill the shared memory");

// sums += the products of one pair of tiles; row and col are this warp's first in them.
__device__ __forceinline__ void multiply(Sums& sums, const unsigned char* stage, int row, int col) {
#pragma unroll
  for (int k = 0; k < TILE_K; k += MMA_K) {
    unsigned a[SLABS_M][4], b[SLABS_N][4];
#pragma unroll
    for (int i = 0; i < SLABS_M; i++) OperandA::fragments(a[i], stage, row + i * SLAB, k);
#pragma unroll
    for (int j = 0; j < SLABS_N; j++) OperandB::fragments(b[j], stage + OperandA::BYTES, col + j * SLAB, k);
#pragma unroll
    for (int i = 0; i < SLABS_M; i++)
#pragma unroll
      for (int j = 0; j < 2 * SLABS_N; j++) {
        const unsigned b_fragment[2] = {b[j / 2][j % 2], b[j / 2][j % 2 + 2]};
#if INPUT_BF16
        mma_m16n8k16_bf16(sums[i][j], a[i], b_fragment);
#else
        mma_m16n8k8_tf32(sums[i][j], a[i], b_fragment);
#endif
      }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) gemm_mma(const Gemm<Input, Output> gemm) {
  DYNAMIC_SHARED(stages);
  const Input* const a = gemm.a + blockIdx.z * gemm.a_batch;
  const Input* const b = gemm.b + blockIdx.z * gemm.b_batch;
  const TileOrigin origin = tile_origin<TILE_M, TILE_N>(blockIdx.x, gemm.m, gemm.n);
  const int warp = threadIdx.x / 32;
  const int row = warp / (TILE_N / WARP_N) * WARP_M, col = warp % (TILE_N / WARP_N) * WARP_N;
  const bool a_aligned = rows_aligned<CHUNK>(a, gemm.a_ld), b_aligned = rows_aligned<CHUNK>(b, gemm.b_ld);
  const Depth depth = depth_of(gemm, blockIdx.y);
  const int num_tiles = (depth.stop - depth.first + TILE_K - 1) / TILE_K;
  Sums sums = {};

  // Every step commits one group, empty or not, so that the count of groups tells which tile has arrived.
  auto fetch = [&](int tile) {
    if (tile < num_tiles) {
      unsigned char* stage = stages + tile % STAGES * STAGE_BYTES;
      const int k0 = depth.first + tile * TILE_K;
      OperandA::fetch(stage, a, gemm.a_ld, origin.row, k0, gemm.m, depth.stop, a_aligned);
      OperandB::fetch(stage + OperandA::BYTES, b, gemm.b_ld, origin.col, k0, gemm.n, depth.stop, b_aligned);
    }
    copy_commit();
  };

  for (int tile = 0; tile < STAGES - 1; tile++) fetch(tile);
  for (int tile = 0; tile < num_tiles; tile++) {
    copy_wait<STAGES - 2>();  // this thread's part of `tile` has arrived,
    __syncthreads();          // and that of all threads, which are done with tile - 1,
    fetch(tile + STAGES - 1); // so its stage is free
    multiply(sums, stages + tile % STAGES * STAGE_BYTES, row, col);
  }

  finish_fragments(gemm, blockIdx.z, blockIdx.y, origin.row + row, origin.col + col, sums);
}

// The main loop of products on tensor cores (sm_80): a ring of tiles of A and B in shared memory, filled by cp.async STAGES
// - 1 ahead of their multiplication. What brings a tile is a policy: Loader here, for matrices; gather.cuh's for images.
// Given before: TILE_M, TILE_N, WARP_M, WARP_N, STAGES, THREADS, SHARED_BYTES; TRANSPOSE_A, TRANSPOSE_B and INPUT_BF16 say
// how tiles lie in memory, and in shared memory too.
//
// Tiles keep the order of their matrix, so that every copy is 16 bytes along memory; the layout of an operand only
// changes how its fragments are read. A tile is TILE_K deep, 128 bytes, and mma consumes 32 of them a step: seen as
// bytes, tf32 and bf16 are the same.
#pragma once
#include "common/ptx/async_copy.cuh"
#include "common/ptx/keep.cuh"
#include "common/ptx/ldmatrix.cuh"
#include "common/ptx/mma.cuh"
#include "products/fragments.cuh"
#include "products/gemm.cuh"
#include "products/types.cuh"

constexpr int CHUNK_BYTES = 16;                       // of one cp.async, and of one row of ldmatrix
constexpr int CHUNK = CHUNK_BYTES / sizeof(Input);    // elements
constexpr int TILE_K = 128 / sizeof(Input);
constexpr int MMA_K = 2 * CHUNK;                      // 32 bytes: k of one mma
constexpr int STEPS = TILE_K / MMA_K;                 // of mma, in a tile
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
struct Layout {
  static constexpr int ROW_CHUNKS = (K_CONTIGUOUS ? TILE_K : EXTENT) / CHUNK;
  static constexpr int ROW_BYTES = ROW_CHUNKS * CHUNK_BYTES;
  static constexpr int BYTES = EXTENT * 128;
  static constexpr bool BY_ELEMENT = !K_CONTIGUOUS && sizeof(Input) == 4;  // ldmatrix transposes 2-byte elements only
  static_assert((K_CONTIGUOUS ? EXTENT : TILE_K) * ROW_BYTES == BYTES, "rows fill the tile");

  static __device__ __forceinline__ int offset(int row, int chunk) {
    const int swizzle = BY_ELEMENT ? row % 4 * 2 : row % 8;
    return (row * ROW_CHUNKS + (chunk ^ swizzle)) * CHUNK_BYTES;
  }
};

// The 16-byte copies of a thread for a tile: COPIES of them, in one column of chunks, APART rows from each other.
template <int EXTENT, bool K_CONTIGUOUS>
struct Copies {
  using Tile = Layout<EXTENT, K_CONTIGUOUS>;
  static constexpr int COPIES = Tile::BYTES / CHUNK_BYTES / THREADS;
  static constexpr int APART = THREADS / Tile::ROW_CHUNKS;
  static_assert(APART % (Tile::BY_ELEMENT ? 4 : 8) == 0, "the swizzle is the same for all chunks of a thread");

  static __device__ __forceinline__ int across() { return threadIdx.x / Tile::ROW_CHUNKS; }
  static __device__ __forceinline__ int along() { return threadIdx.x % Tile::ROW_CHUNKS; }
};

// Starts to copy tiles of a matrix: all that changes from tile to tile is k.
template <int EXTENT, bool K_CONTIGUOUS>
class Loader : Copies<EXTENT, K_CONTIGUOUS> {
  using Base = Copies<EXTENT, K_CONTIGUOUS>;
  using typename Base::Tile;
  using Base::across, Base::along, Base::APART, Base::COPIES;

 public:
  // For tiles from (first, k0) on.
  __device__ __forceinline__ Loader(const Input* matrix, int ld, int first, int k0, int extent)
      : ld_(ld),
        to_(Tile::offset(across(), along())),
        bytes_(K_CONTIGUOUS ? CHUNK_BYTES : inside(extent - first - along() * CHUNK) * int(sizeof(Input))) {
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
      const int row = across() + i * APART, col = along() * CHUNK;
      if (K_CONTIGUOUS)  // rows beyond the edge repeat the last one: nobody looks at their sums
        from_[i] = matrix + (long long)min(first + row, extent - 1) * ld + k0 + col;
      else
        from_[i] = matrix + (long long)(k0 + row) * ld + (bytes_ > 0 ? first + col : 0);
      keep(from_[i]);
    }
  }

  // The tile k after k0, whose k is all in the matrix; rows are aligned to 16 bytes.
  __device__ __forceinline__ void fetch(unsigned char* tile, int k) const {
#pragma unroll
    for (int i = 0; i < COPIES; i++)
      copy16_async(tile + to_ + i * APART * Tile::ROW_BYTES, from_[i] + (K_CONTIGUOUS ? k : (long long)k * ld_), bytes_);
  }

  // Any tile of any matrix, with zeros outside of it; through registers if rows are not aligned.
  static __device__ __forceinline__ void fetch_any(unsigned char* tile, const Input* matrix, int ld, int first, int k0,
                                                   int extent, int depth) {
    const bool aligned = rows_aligned<CHUNK>(matrix, ld);
    const int rows = K_CONTIGUOUS ? extent : depth, cols = K_CONTIGUOUS ? depth : extent;
    const int first_row = K_CONTIGUOUS ? first : k0, first_col = K_CONTIGUOUS ? k0 : first;
#pragma unroll 1  // it is rare, so small code is all it needs
    for (int i = 0; i < COPIES; i++) {
      const int row = first_row + across() + i * APART, col = first_col + along() * CHUNK;
      const int count = row < rows ? inside(cols - col) : 0;
      const Input* from = count ? matrix + (long long)row * ld + col : matrix;
      unsigned char* to = tile + Tile::offset(across(), along()) + i * APART * Tile::ROW_BYTES;
      if (aligned)
        copy16_async(to, from, count * int(sizeof(Input)));
      else
        store<CHUNK>(reinterpret_cast<Input*>(to), load<CHUNK>(from, count, false), CHUNK, true);
    }
  }

 private:
  const Input* from_[COPIES];
  const int ld_;
  const int to_;     // bytes from the beginning of a tile
  const int bytes_;  // of a chunk that are in the matrix

  static __device__ __forceinline__ int inside(int left) { return max(0, min(CHUNK, left)); }
};

// Reads this lane's fragments of SLABS slabs, rows of A or columns of B. A slab, one mma step deep, is four matrices of 8
// x 16 bytes: its lower and upper 8, at the first and the second 16 bytes of k. Fragments of A are 16 high, and r is
// (lower, first), (upper, first), (lower, second), (upper, second). Those of B are 8 wide, so r is two of them, (lower,
// first), (lower, second) and then the upper ones: mma reads a fragment from neighboring registers. A place serves rows
// that are whole turns of the swizzle further on.
template <int EXTENT, bool K_CONTIGUOUS, bool IS_A, int SLABS>
class Reader {
 public:
  // first: of the slabs in the tile
  __device__ __forceinline__ explicit Reader(int first) {
    const int lane = threadIdx.x % 32;
    const int upper = is_upper(lane / 8), second = is_second(lane / 8);  // the matrix whose row it passes to ldmatrix
#pragma unroll
    for (int i = 0; i < PLACES; i++) {
      if (K_CONTIGUOUS)
        place_[i] = Tile::offset(first + 8 * upper + lane % 8, 2 * i + second);
      else if (!Tile::BY_ELEMENT)
        place_[i] = Tile::offset(8 * second + lane % 8, first / CHUNK + 2 * i + upper);
      else
        place_[i] = Tile::offset(lane % 4, first / CHUNK + 2 * i + lane / 16) + lane / 4 % 4 * int(sizeof(Input));
      keep(place_[i]);
    }
  }

  // Slab i at step `step` of mma.
  __device__ __forceinline__ void read(unsigned (&r)[4], const unsigned char* tile, int i, int step) const {
    if (K_CONTIGUOUS) {
      ldmatrix_x4(r, tile + place_[step] + i * SLAB * Tile::ROW_BYTES);
    } else if (!Tile::BY_ELEMENT) {
      ldmatrix_x4_transposed(r, tile + place_[i] + step * MMA_K * Tile::ROW_BYTES);
    } else {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int row = step * MMA_K + is_second(j) * CHUNK;
        r[j] = *reinterpret_cast<const unsigned*>(tile + place_[2 * i + is_upper(j)] + row * Tile::ROW_BYTES);
      }
    }
    if (sizeof(Input) == 4) {
#pragma unroll
      for (int j = 0; j < 4; j++) r[j] = to_tf32(r[j]);
    }
  }

 private:
  using Tile = Layout<EXTENT, K_CONTIGUOUS>;
  static constexpr int PLACES = K_CONTIGUOUS ? STEPS : Tile::BY_ELEMENT ? 2 * SLABS : SLABS;
  int place_[PLACES];

  static __device__ __forceinline__ int is_upper(int matrix) { return IS_A ? matrix % 2 : matrix / 2; }
  static __device__ __forceinline__ int is_second(int matrix) { return IS_A ? matrix / 2 : matrix % 2; }
};

using LoaderA = Loader<TILE_M, !TRANSPOSE_A>;
using LoaderB = Loader<TILE_N, TRANSPOSE_B>;
using ReaderA = Reader<TILE_M, !TRANSPOSE_A, true, SLABS_M>;
using ReaderB = Reader<TILE_N, TRANSPOSE_B, false, SLABS_N>;
using Sums = float[SLABS_M][2 * SLABS_N][4];
constexpr int A_BYTES = TILE_M * 128, STAGE_BYTES = (TILE_M + TILE_N) * 128;
static_assert(STAGES * STAGE_BYTES == SHARED_BYTES, "stages fill the shared memory");

// sums += the products of one pair of tiles.
__device__ __forceinline__ void multiply(Sums& sums, const unsigned char* stage, const ReaderA& a_reader,
                                         const ReaderB& b_reader) {
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    unsigned a[SLABS_M][4], b[SLABS_N][4];
#pragma unroll
    for (int i = 0; i < SLABS_M; i++) a_reader.read(a[i], stage, i, step);
#pragma unroll
    for (int j = 0; j < SLABS_N; j++) b_reader.read(b[j], stage + A_BYTES, j, step);
#pragma unroll
    for (int i = 0; i < SLABS_M; i++)
#pragma unroll
      for (int j = 0; j < 2 * SLABS_N; j++) {
        const unsigned b_fragment[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
#if INPUT_BF16
        mma_m16n8k16_bf16(sums[i][j], a[i], b_fragment);
#else
        mma_m16n8k8_tf32(sums[i][j], a[i], b_fragment);
#endif
      }
  }
}

// sums += the products of num_tiles pairs of tiles. bring(stage, tile) starts the copies of one.
template <class Bring>
__device__ __forceinline__ void multiply_tiles(Sums& sums, unsigned char* stages, int num_tiles,
                                               const ReaderA& a_reader, const ReaderB& b_reader, Bring bring) {
  // Every step commits one group, empty or not, so that the count of groups tells which tile has arrived.
  auto fetch = [&](int tile) {
    if (tile < num_tiles) bring(stages + tile % STAGES * STAGE_BYTES, tile);
    copy_commit();
  };

#pragma unroll 1
  for (int tile = 0; tile < STAGES - 1; tile++) fetch(tile);
  for (int tile = 0; tile < num_tiles; tile++) {
    copy_wait<STAGES - 2>();  // this thread's part of `tile` has arrived,
    __syncthreads();          // and that of all threads, which are done with tile - 1,
    fetch(tile + STAGES - 1); // so its stage is free
    multiply(sums, stages + tile % STAGES * STAGE_BYTES, a_reader, b_reader);
  }
}

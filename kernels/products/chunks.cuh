// Chunks of a warp's sums in shared memory: 16 rows of 128 bytes, in the layout of tensor_copy.cuh, from the layout of
// wgmma's sums and back. G groups of 8 columns: 64 columns of bf16 are 8 of them, 32 of float are 4.
// Source: PTX ISA, "stmatrix"; "Swizzling modes".
#pragma once
#include "common/numbers.cuh"
#include "common/ptx/ldmatrix.cuh"
#include "common/ptx/stmatrix.cuh"
#include "common/vec.cuh"

constexpr int CHUNK_ROWS = 16, CHUNK_BYTES = CHUNK_ROWS * 128;

// This lane's place in a chunk. Piece p (16 bytes) of row r is at p ^ r % 8.
template <class Output>
struct ChunkPlace;

template <>
struct ChunkPlace<bf16> {
  static constexpr int COLUMNS = 64, GROUPS = 8;
  int row, piece;  // that this lane passes to stmatrix: rows 0 to 15 of one group of columns, and then of the next
  __device__ __forceinline__ ChunkPlace() {
    const int lane = threadIdx.x % 32;
    row = lane % 16 * 128;
    piece = lane / 16 ^ lane % 8;
  }
  template <int G>
  __device__ __forceinline__ void put(unsigned char* chunk, const float (&x)[G][4]) const {
    static_assert(G % 2 == 0, "two groups at a time");
#pragma unroll
    for (int g = 0; g < G; g += 2) put_two(chunk, g, x[g], x[g + 1]);
  }
  template <int G>
  __device__ __forceinline__ void get(const unsigned char* chunk, float (&x)[G][4]) const {
#pragma unroll
    for (int g = 0; g < G; g += 2) get_two(chunk, g, x[g], x[g + 1]);
  }
  // Groups g, which is even, and g + 1.
  __device__ __forceinline__ void put_two(unsigned char* chunk, int g, const float (&x)[4],
                                          const float (&y)[4]) const {
    const unsigned r[4] = {to_bf16_pair(x[0], x[1]), to_bf16_pair(x[2], x[3]), to_bf16_pair(y[0], y[1]),
                           to_bf16_pair(y[2], y[3])};
    stmatrix_x4(chunk + row + 16 * (piece ^ g), r);
  }
  __device__ __forceinline__ void get_two(const unsigned char* chunk, int g, float (&x)[4], float (&y)[4]) const {
    unsigned r[4];
    ldmatrix_x4(r, chunk + row + 16 * (piece ^ g));
#pragma unroll
    for (int i = 0; i < 2; i++) {
      x[2 * i] = float_from_bits(r[i] << 16), x[2 * i + 1] = float_from_bits(r[i] & 0xFFFF0000);
      y[2 * i] = float_from_bits(r[2 + i] << 16), y[2 * i + 1] = float_from_bits(r[2 + i] & 0xFFFF0000);
    }
  }
};

// A lane has 8 bytes of a row, and 16 lanes store at once: 32 bytes of each of four rows. Exchanged by their row, those of
// two rows would meet in the same banks as those of the other two, did odd rows not take the other half of the chunk.
template <>
struct ChunkPlace<float> {
  static constexpr int COLUMNS = 32, GROUPS = 4;
  int row, piece;
  bool odd;
  __device__ __forceinline__ ChunkPlace() {
    const int lane = threadIdx.x % 32;
    row = lane / 4 * 128 + lane % 2 * 8;
    piece = lane % 4 / 2 ^ lane / 4;
    odd = lane / 4 % 2;
  }
  template <class Pair>
  __device__ __forceinline__ Pair* at(Pair* chunk, int g, int half) const {
    return chunk + (row + half * 8 * 128 + 16 * (piece ^ 2 * g)) / int(sizeof(Pair));
  }
  template <int G>
  __device__ __forceinline__ void put(unsigned char* chunk, const float (&x)[G][4]) const {
    static_assert(G == 4, "both halves");
#pragma unroll
    for (int g = 0; g < G; g++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const Vec<float, 2> pair = {odd ? x[g ^ 2][2 * half] : x[g][2 * half],
                                    odd ? x[g ^ 2][2 * half + 1] : x[g][2 * half + 1]};
        *at(reinterpret_cast<Vec<float, 2>*>(chunk), odd ? g ^ 2 : g, half) = pair;
      }
  }
  template <int G>
  __device__ __forceinline__ void get(const unsigned char* chunk, float (&x)[G][4]) const {
#pragma unroll
    for (int g = 0; g < G; g++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const auto pair = *at(reinterpret_cast<const Vec<float, 2>*>(chunk), g, half);
        x[g][2 * half] = pair.at[0];
        x[g][2 * half + 1] = pair.at[1];
      }
  }
};

// Four neighbors of a row of a chunk of float; `piece`: which four.
__device__ __forceinline__ Vec<float, 4> row_piece(const unsigned char* chunk, int row, int piece) {
  return *reinterpret_cast<const Vec<float, 4>*>(chunk + row * 128 + 16 * (piece ^ row % 8));
}

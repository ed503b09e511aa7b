// Mean and squared differences of columns, over all tiles of a warpgroup, from chunks (products/chunks.cuh) of bf16 on their way
// to memory: a lane adds up two columns of its warp's rows, about the first of them, and warps meet once, at the end.
// Source: Chan et al. 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
#pragma once
#include "common/numbers.cuh"
#include "common/ptx/named_barrier.cuh"

class RunningMoments {
 public:
  // Add the first `rows` of 8 rows of a chunk. Every lane calls it.
  __device__ __forceinline__ void add(const unsigned char* eight, int rows) {
    if (count == 0 && rows > 0) center = pair_of(eight, 0);
#pragma unroll
    for (int row = 0; row < 8; row++) {
      const unsigned pair = row < rows ? pair_of(eight, row) : center;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const float apart = half_of(pair, i) - half_of(center, i);
        sums[i] += apart;
        squares[i] += apart * apart;
      }
    }
    count += max(rows, 0);
  }

  // Write means, and `apart` numbers behind them squared differences, of the first `columns` of 64. memory: 512
  // bytes for each of the warpgroup's warps, `bytes` apart. Every thread of the warpgroup calls it.
  __device__ __forceinline__ void write(float* to, long long apart, int columns, unsigned char* memory, int bytes,
                                        int barrier) const {
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    const float part = count > 0 ? 1.f / count : 0;
    auto* mine = reinterpret_cast<Part*>(memory + warp * bytes);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      mine->mean[2 * lane + i] = count > 0 ? half_of(center, i) + sums[i] * part : 0;
      mine->squares[2 * lane + i] = fmaxf(0, squares[i] - sums[i] * sums[i] * part);
    }
    if (lane == 0) mine->count = count;
    named_barrier_wait<128>(barrier);
    const int column = threadIdx.x % 128;
    if (column >= columns) return;
    const auto of = [&](int i) { return reinterpret_cast<const Part*>(memory + i * bytes); };
    float total = 0, off = 0, squared = 0;
    for (int i = 0; i < 4; i++) {
      total += of(i)->count;
      off += of(i)->count * (of(i)->mean[column] - of(0)->mean[column]);
    }
    const float mean = of(0)->mean[column] + off / total;
    for (int i = 0; i < 4; i++) {
      const float away = of(i)->mean[column] - mean;
      squared += of(i)->squares[column] + of(i)->count * away * away;
    }
    to[column] = mean;
    to[apart + column] = squared;
  }

 private:
  struct Part {
    float mean[64], squares[64], count;
  };
  float sums[2] = {}, squares[2] = {};
  unsigned center = 0;  // the first row
  int count = 0;

  // This lane's two columns of a row.
  static __device__ __forceinline__ unsigned pair_of(const unsigned char* eight, int row) {
    return *reinterpret_cast<const unsigned*>(eight + row * 128 + (4 * (threadIdx.x % 32) ^ 16 * row));
  }
  static __device__ __forceinline__ float half_of(unsigned pair, int i) {
    return float_from_bits(i ? pair & 0xFFFF0000 : pair << 16);
  }
};

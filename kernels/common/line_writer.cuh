// The epilogue of convolutions line by line (see epilogue.cuh for its steps): 16 places across of a warp go to memory by
// way of shared memory, and the copy engine leaves out what lies outside of the images. bf16.
// COLUMN_MOMENTS 1: moments of all lines of a consumer, one slab.
// Source: PTX ISA, "cp.async.bulk.tensor"; "stmatrix".
#pragma once
#include "chunks.cuh"
#include "epilogue.cuh"
#include "lines.cuh"
#include "running_moments.cuh"
#include "tensor_copy.cuh"

template <int GROUPS, int ACROSS>
class LineWriter {
 public:
  using Conv = Convolution<bf16, bf16>;

  // In shared memory: a chunk for each of this consumer's warps, from a multiple of 1024 bytes on; and the bias of these
  // columns, of which `col` is the first.
  __device__ __forceinline__ LineWriter(unsigned char* buffers, const float* bias, int col)
      : buffers(buffers), buffer(buffers + threadIdx.x / 32 % 4 * CHUNK_BYTES), bias(bias), col(col) {}

  // Finish the sums of a line of out. Every lane of the warp calls it.
  __device__ __forceinline__ void write(const Conv& conv, const TensorMap& out_map, const LinePlace& line,
                                        const float (&sums)[GROUPS][4]) {
    const Gemm<bf16, bf16>& gemm = conv.gemm;
    float x[GROUPS][4];
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
      const auto two = *reinterpret_cast<const Vec<float, 2>*>(bias + 8 * g + pair());
#pragma unroll
      for (int i = 0; i < 4; i++) x[g][i] = gemm.alpha * sums[g][i] + two.at[i % 2];
    }
    if (gemm.beta != 0) add_old(conv, line, x);
#pragma unroll
    for (int i = 0; i < 4 * GROUPS; i++) x[i / 4][i % 4] = activate(x[i / 4][i % 4]);
    put(out_map, line, x);
    if (COLUMN_MOMENTS) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const Place at(line, first_slot() + 8 * half);
        moments.add(buffer + half * CHUNK_BYTES / 2, at.image < conv.images ? min(8, conv.out_width - at.across) : 0);
      }
    }
  }

  // After all lines of consumer `number`, which are at most `per`: its threads may end only then.
  __device__ __forceinline__ void end(const Conv& conv, int number, int consumer, bool any) {
    if (threadIdx.x % 32 == 0) tensor_stores_read<0>();
    if (!COLUMN_MOMENTS || !any) return;
    __syncwarp();
    const long long channels = conv.gemm.n;
    moments.write(conv.gemm.column_sums + 2 * number * channels + col, channels, conv.gemm.n - col, buffers, CHUNK_BYTES,
                  1 + consumer);
  }

 private:
  struct Place {
    int image, across;
    __device__ __forceinline__ Place(const LinePlace& line, int slot)
        : image(line.group * (64 / ACROSS) + slot / ACROSS), across(line.strip * ACROSS + slot % ACROSS) {}
  };

  unsigned char *const buffers, *const buffer;  // of the warps, and of this one
  const float* const bias;
  const int col;
  const ChunkPlace<bf16> place;
  RunningMoments moments;

  static __device__ __forceinline__ int pair() { return threadIdx.x % 4 * 2; }  // this lane's columns of a group
  static __device__ __forceinline__ int first_slot() { return threadIdx.x / 32 % 4 * 16; }

  __device__ __forceinline__ void add_old(const Conv& conv, const LinePlace& line, float (&x)[GROUPS][4]) const {
    const Gemm<bf16, bf16>& gemm = conv.gemm;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const Place at(line, first_slot() + threadIdx.x % 32 / 4 + 8 * half);
      if (at.image >= conv.images || at.across >= conv.out_width) continue;
      const long long row = (at.image * (long long)conv.out_height + line.line) * conv.out_width + at.across;
      const bf16* from = gemm.c + row * gemm.c_ld + col + pair();
#pragma unroll
      for (int g = 0; g < GROUPS; g++) {
        const auto old = load<2>(from + 8 * g, gemm.n - col - 8 * g - pair(), rows_aligned<2>(gemm.c, gemm.c_ld));
        x[g][2 * half] += gemm.beta * to_float(old.at[0]);
        x[g][2 * half + 1] += gemm.beta * to_float(old.at[1]);
      }
    }
  }

  __device__ __forceinline__ void put(const TensorMap& out_map, const LinePlace& line,
                                      const float (&x)[GROUPS][4]) const {
    const bool is_first = threadIdx.x % 32 == 0;
    if (is_first) tensor_stores_read<0>();
    __syncwarp();
    place.put(buffer, x);
    fence_async(buffer, CHUNK_BYTES);
    __syncwarp();
    if (!is_first) return;
    const Place first(line, first_slot());
    tensor_store(&out_map, col, first.across, line.line, first.image, buffer);
    commit_tensor_stores();
  }
};

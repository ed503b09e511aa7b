// The epilogue of convolutions line by line (see products/epilogue.cuh for its steps): 16 places across of a warp go to memory
// by way of shared memory, and the copy engine leaves out what lies outside of the images. C comes the same way,
// fetched while its line is multiplied. bf16.
// COLUMN_MOMENTS 1: moments of all lines of a consumer, one slab.
// Source: PTX ISA, "cp.async.bulk.tensor"; "stmatrix".
#pragma once
#include "common/ptx/tensor_copy.cuh"
#include "convolutions/lines.cuh"
#include "convolutions/running_moments.cuh"
#include "products/chunks.cuh"
#include "products/epilogue.cuh"

template <int GROUPS, int ACROSS>
class LineWriter {
 public:
  using Conv = Convolution<bf16, bf16>;
  static constexpr int BYTES = 4 * CHUNK_BYTES;  // of buffers, of a consumer

  // In shared memory: buffers, from a multiple of 1024 bytes on; a barrier for each warp; the bias of these columns.
  // col: the first of them.
  __device__ __forceinline__ LineWriter(unsigned char* buffers, Barrier* loaded, const float* bias, int col)
      : buffers(buffers),
        buffer(buffers + threadIdx.x / 32 % 4 * CHUNK_BYTES),
        loaded(loaded + threadIdx.x / 32 % 4),
        bias(bias),
        col(col) {}

  // One thread calls it, before barrier_init_fence().
  static __device__ __forceinline__ void init(Barrier* loaded) {
    for (int i = 0; i < 4; i++) barrier_init(&loaded[i], 1);
  }

  // Before the sums are there: fetch C. Every lane of the warp calls it, as all the functions below.
  __device__ __forceinline__ void begin(const Conv& conv, const TensorMap& c_map, const LinePlace& line) const {
    if (conv.gemm.beta == 0) return;
    __syncwarp();
    if (threadIdx.x % 32 != 0) return;
    tensor_stores_read<0>();
    barrier_expect(loaded, CHUNK_BYTES);
    const Place first(line, first_slot());
    tensor_copy(buffer, &c_map, col, first.across, line.line, first.image, loaded);
  }

  // Finish the sums of a line of out.
  __device__ __forceinline__ void write(const Conv& conv, const TensorMap& out_map, const LinePlace& line,
                                        const float (&sums)[GROUPS][4]) {
    const Gemm<bf16, bf16>& gemm = conv.gemm;
    const bool adds = gemm.beta != 0, is_first = threadIdx.x % 32 == 0;
    if (adds) {
      barrier_wait(loaded, phase);
      phase ^= 1;
    } else if (is_first) {
      tensor_stores_read<0>();
    }
    __syncwarp();
#pragma unroll
    for (int g = 0; g < GROUPS; g += 2) {
      float x[2][4];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const auto two = *reinterpret_cast<const Vec<float, 2>*>(bias + 8 * (g + i) + threadIdx.x % 4 * 2);
#pragma unroll
        for (int j = 0; j < 4; j++) x[i][j] = gemm.alpha * sums[g + i][j] + two.at[j % 2];
      }
      if (adds) {
        float old[2][4];
        place.get_two(buffer, g, old[0], old[1]);
#pragma unroll
        for (int i = 0; i < 8; i++) x[i / 4][i % 4] += gemm.beta * old[i / 4][i % 4];
      }
#pragma unroll
      for (int i = 0; i < 8; i++) x[i / 4][i % 4] = activate(x[i / 4][i % 4]);
      place.put_two(buffer, g, x[0], x[1]);
    }
    fence_async(buffer, CHUNK_BYTES);
    __syncwarp();
    if (is_first) {
      const Place first(line, first_slot());
      tensor_store(&out_map, col, first.across, line.line, first.image, buffer);
      commit_tensor_stores();
    }
    if (COLUMN_MOMENTS) add_moments(conv, line);
  }

  // After all lines of consumer `number`, its block's `consumer`, which has `any` or none: threads end only then.
  __device__ __forceinline__ void end(const Conv& conv, int number, int consumer, bool any) {
    if (threadIdx.x % 32 == 0) tensor_stores_read<0>();
    if (!COLUMN_MOMENTS || !any) return;
    __syncwarp();
    const int channels = channels_of_out(conv);
    moments.write(conv.gemm.column_sums + 2ll * number * channels + col, channels, min(8 * GROUPS, channels - col),
                  buffers, CHUNK_BYTES, 1 + consumer);
  }

 private:
  struct Place {
    int image, across;
    __device__ __forceinline__ Place(const LinePlace& line, int slot)
        : image(line.group * (64 / ACROSS) + slot / ACROSS), across(line.strip * ACROSS + slot % ACROSS) {}
  };

  unsigned char *const buffers, *const buffer;  // of the warps, and of this one
  Barrier* const loaded;
  const float* const bias;
  const int col;
  const ChunkPlace<bf16> place;
  unsigned phase = 0;
  RunningMoments moments;

  static __device__ __forceinline__ int first_slot() { return threadIdx.x / 32 % 4 * 16; }

  // Of what is stored: the rows within the images.
  __device__ __forceinline__ void add_moments(const Conv& conv, const LinePlace& line) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const Place at(line, first_slot() + 8 * half);
      moments.add(buffer + half * CHUNK_BYTES / 2, at.image < conv.images ? min(8, conv.out_width - at.across) : 0);
    }
  }
};

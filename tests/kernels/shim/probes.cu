// Small kernels for test_shim.py and test_divide.py: right ones that show what the shim does, and wrong ones that it
// must refuse.
// Arch: sm_80
#include "common/divide.cuh"
#include "common/ptx/async_copy.cuh"
#include "common/ptx/exp2.cuh"
#include "common/ptx/ldmatrix.cuh"
#include "common/ptx/mma.cuh"
#include "products/fragments.cuh"

extern "C" __global__ void warp_sum(const float* x, float* out) {
  float sum = x[threadIdx.x];
  for (int by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(~0u, sum, by);
  if (threadIdx.x % 32 == 0) atomicAdd(out, sum);
}

extern "C" __global__ void divide(const int* n, int* quotients, int* remainders, int count, const FastDivide by) {
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    const auto found = by(n[i]);
    quotients[i] = found.quotient;
    remainders[i] = found.remainder;
  }
}

extern "C" __global__ void reverse_without_barrier(const float* x, float* out) {
  __shared__ float values[128];
  values[threadIdx.x] = x[threadIdx.x];
  out[threadIdx.x] = values[127 - threadIdx.x];
}

extern "C" __global__ void arrival_order(int* order, int* count) { order[atomicAdd(count, 1)] = threadIdx.x; }

extern "C" __global__ void barrier_in_a_branch(float* out) {
  if (threadIdx.x == 0)
    __syncwarp();
  else
    __syncthreads();
  out[threadIdx.x] = 1;
}

extern "C" __global__ void barriers_on_two_lines(float* out) {
  if (threadIdx.x < 7)
    __syncthreads();
  else
    __syncthreads();
  out[threadIdx.x] = 1;
}

extern "C" __global__ void mask_without_the_caller(float* out) { out[0] = __shfl_xor_sync(0xFFFFu, 1.f, 1); }

extern "C" __global__ void mask_of_an_ended_lane(float* out) {
  if (threadIdx.x == 3) return;
  out[threadIdx.x] = __shfl_xor_sync(~0u, 1.f, 1);
}

extern "C" __global__ void misaligned_copy(const float* x) {
  __shared__ __align__(16) float values[8];
  copy16_async(values + 1, x, 16);
}

extern "C" __global__ void copy_never_awaited(const float* x) {
  __shared__ __align__(16) float values[4];
  if (reinterpret_cast<unsigned long long>(x) % 16 == 0) copy16_async(values, x, 16);
  copy16_async(values, x, 0);
  copy_commit();
}

extern "C" __global__ void copy_two_groups(const float* x, float* out) {
  __shared__ __align__(16) float values[8];
  copy16_async(values, x, 16);
  copy_commit();
  copy16_async(values + 4, x + 4, 8);
  copy_commit();
  for (int i = 0; i < 4; i++) out[i] = values[i];
  copy_wait<1>();
  for (int i = 0; i < 4; i++) out[4 + i] = values[i];
  copy_wait<0>();
  for (int i = 0; i < 4; i++) out[8 + i] = values[4 + i];
}

extern "C" __global__ void one_mma_tf32(const unsigned (*a)[4], const unsigned (*b)[2], float (*d)[4]) {
  float sums[4] = {};
  mma_m16n8k8_tf32(sums, a[threadIdx.x], b[threadIdx.x]);
  for (int i = 0; i < 4; i++) d[threadIdx.x][i] = sums[i];
}

extern "C" __global__ void one_mma_bf16(const unsigned (*a)[4], const unsigned (*b)[2], float (*d)[4]) {
  float sums[4] = {};
  mma_m16n8k16_bf16(sums, a[threadIdx.x], b[threadIdx.x]);
  for (int i = 0; i < 4; i++) d[threadIdx.x][i] = sums[i];
}

__device__ __forceinline__ const unsigned char* stage(unsigned char* shared, const unsigned char* matrices) {
  for (int i = 0; i < 16; i++) shared[16 * threadIdx.x + i] = matrices[16 * threadIdx.x + i];
  __syncthreads();
  return shared + 16 * threadIdx.x;
}

extern "C" __global__ void one_ldmatrix(const unsigned char* matrices, unsigned (*got)[4]) {
  __shared__ __align__(16) unsigned char shared[512];
  unsigned r[4];
  ldmatrix_x4(r, stage(shared, matrices));
  for (int i = 0; i < 4; i++) got[threadIdx.x][i] = r[i];
}

extern "C" __global__ void one_ldmatrix_transposed(const unsigned char* matrices, unsigned (*got)[4]) {
  __shared__ __align__(16) unsigned char shared[512];
  unsigned r[4];
  ldmatrix_x4_transposed(r, stage(shared, matrices));
  for (int i = 0; i < 4; i++) got[threadIdx.x][i] = r[i];
}

extern "C" __global__ void round_to_half(const float* x, unsigned short* halves, float* back, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    halves[i] = to_half_bits(x[i]);
    back[i] = from_half_bits(halves[i]);
  }
}
extern "C" __global__ void vote(const int* x, unsigned* ballots) { ballots[threadIdx.x] = __ballot_sync(~0u, x[threadIdx.x]); }
extern "C" __global__ void round_numbers(const float* x, bf16* as_bf16, unsigned* as_tf32) {
  as_bf16[threadIdx.x] = to_bf16(x[threadIdx.x]);
  as_tf32[threadIdx.x] = to_tf32(float_bits(x[threadIdx.x]));
}

// What a warp stores of its sums, 16 x 64, where an element is 1000 row + column: piece by piece and lane by lane, the
// first row and column, and N elements.
template <int N>
__device__ __forceinline__ void list_pieces(float* out) {
  const int lane = threadIdx.x % 32;
  float sums[1][8][4];
  for (int group = 0; group < 8; group++)
    for (int i = 0; i < 4; i++)
      sums[0][group][i] = 1000 * (lane / 4 + 8 * (i / 2)) + 8 * group + 2 * (lane % 4) + i % 2;
  float* to = out + lane * (2 + N);
  for (int group = 0; group < 8; group += N / 2)
    for (int i = 0; i < 2; i++, to += 32 * (2 + N)) {
      const Piece<N> x = trade_pairs<N>(sums, i, group);
      to[0] = x.row;
      to[1] = x.col;
      for (int j = 0; j < N; j++) to[2 + j] = x.at[j];
    }
}

extern "C" __global__ void list_float_pieces(float* out) { list_pieces<16 / sizeof(float)>(out); }
extern "C" __global__ void list_bf16_pieces(float* out) { list_pieces<16 / sizeof(bf16)>(out); }

// Pairs as bf16, and powers of 2.
extern "C" __global__ void pairs_and_powers(const float* x, unsigned* pairs, float* powers) {
  const int i = threadIdx.x;
  pairs[i] = to_bf16_pair(x[2 * i], x[2 * i + 1]);
  powers[2 * i] = exp2_approx(x[2 * i]);
  powers[2 * i + 1] = exp2_approx(x[2 * i + 1]);
}

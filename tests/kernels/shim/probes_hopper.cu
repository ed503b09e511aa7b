// Small kernels for test_shim_hopper.py: right ones that show what the shim does, and wrong ones that it must refuse.
// Arch: sm_90a
#include "common/numbers.cuh"
#include "common/ptx/async_copy.cuh"
#include "common/ptx/cluster.cuh"
#include "common/ptx/ldmatrix.cuh"
#include "common/ptx/mbarrier.cuh"
#include "common/ptx/named_barrier.cuh"
#include "common/ptx/stmatrix.cuh"
#include "common/ptx/tensor_copy.cuh"
#include "common/ptx/wgmma.cuh"

__device__ __forceinline__ void init(Barrier* barrier, int count) {
  if (threadIdx.x == 0) {
    barrier_init(barrier, count);
    barrier_init_fence();
  }
  __syncthreads();
}

// One box to shared memory and, byte by byte, out again; before its landing too.
extern "C" __global__ void copy_a_box(const TensorMap map, int x, int y, int z, int bytes, unsigned char* early,
                                      unsigned char* out) {
  DYNAMIC_SHARED(shared);
  unsigned char* box = align_to_swizzle(shared);
  Barrier* landed = reinterpret_cast<Barrier*>(box + bytes);
  init(landed, 1);
  if (threadIdx.x == 0) {
    barrier_expect(landed, bytes);
    tensor_copy(box, &map, x, y, z, landed);
    for (int i = 0; i < bytes; i++) early[i] = box[i];
  }
  barrier_wait(landed, 0);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = box[i];
}

extern "C" __global__ void copy_a_box_4d(const TensorMap map, int x, int y, int z, int w, int bytes,
                                         unsigned char* out) {
  DYNAMIC_SHARED(shared);
  unsigned char* box = align_to_swizzle(shared);
  Barrier* landed = reinterpret_cast<Barrier*>(box + bytes);
  init(landed, 1);
  if (threadIdx.x == 0) {
    barrier_expect(landed, bytes);
    tensor_copy(box, &map, x, y, z, w, landed);
  }
  barrier_wait(landed, 0);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = box[i];
}

// Block 0 of a cluster of two sends a box to both.
extern "C" __global__ void __cluster_dims__(2, 1, 1) copy_to_both(const TensorMap map, int bytes, unsigned char* out) {
  DYNAMIC_SHARED(shared);
  unsigned char* box = align_to_swizzle(shared);
  Barrier* landed = reinterpret_cast<Barrier*>(box + bytes);
  init(landed, 1);
  cluster_barrier();
  if (threadIdx.x == 0) {
    barrier_expect(landed, bytes);
    if (rank_in_cluster() == 0) tensor_copy_multicast(box, &map, 0, 0, 0, landed, 3);
  }
  barrier_wait(landed, 0);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[blockIdx.x * bytes + i] = box[i];
}

// The pixels under one tap of a few windows, as copy_a_box.
extern "C" __global__ void copy_pixels(const TensorMap map, int channel, int w, int h, int image, int offset_w,
                                       int offset_h, int bytes, unsigned char* early, unsigned char* out) {
  DYNAMIC_SHARED(shared);
  unsigned char* box = align_to_swizzle(shared);
  Barrier* landed = reinterpret_cast<Barrier*>(box + bytes);
  init(landed, 1);
  if (threadIdx.x == 0) {
    barrier_expect(landed, bytes);
    im2col_copy(box, &map, {channel, w, h, image}, offset_w, offset_h, landed);
    for (int i = 0; i < bytes; i++) early[i] = box[i];
  }
  barrier_wait(landed, 0);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = box[i];
}

// Block 1 of a cluster of two sends pixels to both.
extern "C" __global__ void __cluster_dims__(2, 1, 1)
copy_pixels_to_both(const TensorMap map, int w, int h, int bytes, unsigned char* out) {
  DYNAMIC_SHARED(shared);
  unsigned char* box = align_to_swizzle(shared);
  Barrier* landed = reinterpret_cast<Barrier*>(box + bytes);
  init(landed, 1);
  cluster_barrier();
  if (threadIdx.x == 0) {
    barrier_expect(landed, bytes);
    if (rank_in_cluster() == 1) im2col_copy_multicast(box, &map, {0, w, h, 0}, 1, 2, landed, 3);
  }
  barrier_wait(landed, 0);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[blockIdx.x * bytes + i] = box[i];
}

extern "C" __global__ void copy_off_alignment(const TensorMap map, int bytes) {
  DYNAMIC_SHARED(shared);
  Barrier* landed = reinterpret_cast<Barrier*>(align_to_swizzle(shared) + 2 * bytes);
  init(landed, 1);
  barrier_expect(landed, bytes);
  tensor_copy(align_to_swizzle(shared) + 128, &map, 0, 0, 0, landed);
  barrier_wait(landed, 0);
}

// A copy to where it must not go. What is wrong is chosen by `mistake`; 0: nothing.
extern "C" __global__ void __cluster_dims__(2, 1, 1) copy_wrong(const TensorMap map, int bytes, int mistake) {
  DYNAMIC_SHARED(shared);
  unsigned char* box = align_to_swizzle(shared);
  Barrier* landed = reinterpret_cast<Barrier*>(box + bytes);
  init(landed, 1);
  cluster_barrier();
  if (rank_in_cluster() == 1 && mistake == 3) return;  // the other block still sends to it
  box[threadIdx.x] = 1;
  if (mistake != 1) fence_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    barrier_expect(landed, mistake == 5 ? 1 << 20 : bytes);
    if (rank_in_cluster() == 0) tensor_copy_multicast(box, &map, 0, 0, 0, landed, mistake == 4 ? 7 : 3);
    if (mistake == 2) tensor_copy(box, &map, 0, 0, 0, landed);
  }
  barrier_wait(landed, 0);
  if (mistake != 3) cluster_barrier();
}

extern "C" __global__ void copy_nobody_awaits(const TensorMap map, int bytes) {
  DYNAMIC_SHARED(shared);
  Barrier* landed = reinterpret_cast<Barrier*>(align_to_swizzle(shared) + 16 * bytes);
  init(landed, 1);
  for (int i = 0; i < 16; i++) tensor_copy(align_to_swizzle(shared) + i * bytes, &map, 0, 0, 0, landed);
}

// Thread 0 counts to `rounds` with the others: each waits for what the other has done.
extern "C" __global__ void ping_pong(int rounds, int* seen) {
  __shared__ Barrier ping, pong;
  __shared__ int ball;
  if (threadIdx.x == 0) {
    barrier_init(&ping, 1);
    barrier_init(&pong, blockDim.x - 1);
    barrier_init_fence();
  }
  __syncthreads();
  for (int i = 0; i < rounds; i++) {
    if (threadIdx.x == 0) {
      barrier_wait(&pong, i % 2 ^ 1);
      ball = i;
      barrier_arrive(&ping, 0);
    } else {
      barrier_wait(&ping, i % 2);
      seen[i * blockDim.x + threadIdx.x] = ball;
      barrier_arrive(&pong, 0);
    }
  }
}

extern "C" __global__ void barrier_before_its_init() {
  __shared__ Barrier barrier;
  if (threadIdx.x == 0) {
    barrier_init(&barrier, 1);
    barrier_init_fence();
    barrier_arrive(&barrier, 0);
  }
  barrier_wait(&barrier, 0);  // no __syncthreads before
}

extern "C" __global__ void barrier_without_fence() {
  __shared__ Barrier barrier;
  if (threadIdx.x == 0) barrier_init(&barrier, 1);
  __syncthreads();
  if (threadIdx.x == 0) barrier_arrive(&barrier, 0);
  barrier_wait(&barrier, 0);
}

extern "C" __global__ void one_arrival_too_many() {
  __shared__ Barrier barrier;
  init(&barrier, 1);
  if (threadIdx.x == 0) barrier_expect(&barrier, 16);  // its 16 bytes never come, so the phase stays open
  __syncthreads();
  if (threadIdx.x == 1) barrier_arrive(&barrier, 0);
}

__device__ __forceinline__ void bring(unsigned char* to, const unsigned char* from, int bytes) {
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) to[i] = from[i];
  fence_async();
  __syncthreads();
}

// d = A B, d += A B again, for tiles as they lie in shared memory; and d before the wait. WIDTH columns.
#ifndef WIDTH
#define WIDTH 128
#endif
template <bool BF16, bool A_K, bool B_K>
__device__ __forceinline__ void product(const unsigned char* a, const unsigned char* b, int a_bytes, int b_bytes,
                                        int leading, float* early, float* out) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  bring(tiles, a, a_bytes);
  bring(tiles + a_bytes, b, b_bytes);
  float d[WIDTH / 8][4];
  const auto a_factor = wgmma_factor<A_K>(tiles, leading), b_factor = wgmma_factor<B_K>(tiles + a_bytes, leading);
  wgmma_fence(d);
  wgmma<BF16, A_K, B_K>(d, a_factor, b_factor, false);
  wgmma<BF16, A_K, B_K>(d, a_factor, b_factor, true);
  wgmma_commit();
  for (int i = 0; i < WIDTH / 2; i++) early[threadIdx.x * (WIDTH / 2) + i] = d[i / 4][i % 4];
  wgmma_wait(d);
  for (int i = 0; i < WIDTH / 2; i++) out[threadIdx.x * (WIDTH / 2) + i] = d[i / 4][i % 4];
}


extern "C" __global__ void wgmma_tf32(const unsigned char* a, const unsigned char* b, int a_bytes, int b_bytes,
                                      int leading, float* early, float* out) {
  product<false, true, true>(a, b, a_bytes, b_bytes, leading, early, out);
}
extern "C" __global__ void wgmma_bf16_kk(const unsigned char* a, const unsigned char* b, int a_bytes, int b_bytes,
                                         int leading, float* early, float* out) {
  product<true, true, true>(a, b, a_bytes, b_bytes, leading, early, out);
}
extern "C" __global__ void wgmma_bf16_mn(const unsigned char* a, const unsigned char* b, int a_bytes, int b_bytes,
                                         int leading, float* early, float* out) {
  product<true, false, false>(a, b, a_bytes, b_bytes, leading, early, out);
}

// The same with A (64, 16) from registers: threads read its elements by the layout of a[i] in wgmma.cuh.
template <bool B_K>
__device__ __forceinline__ void product_of_rows(const unsigned short* a, const unsigned char* b, int b_bytes,
                                                int leading, float* out) {
  DYNAMIC_SHARED(shared);
  unsigned char* tile = align_to_swizzle(shared);
  bring(tile, b, b_bytes);
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
  unsigned rows[4];
  for (int i = 0; i < 4; i++) {
    const unsigned short* pair = a + (row + 8 * (i % 2)) * 16 + 8 * (i / 2) + 2 * (lane % 4);
    rows[i] = pair[0] | unsigned(pair[1]) << 16;
  }
  float d[WIDTH / 8][4];
  const auto factor = wgmma_factor<B_K>(tile, leading);
  wgmma_fence(d);
  wgmma<B_K>(d, rows, factor, false);
  wgmma<B_K>(d, rows, factor, true);
  wgmma_commit();
  wgmma_wait(d);
  for (int i = 0; i < WIDTH / 2; i++) out[threadIdx.x * (WIDTH / 2) + i] = d[i / 4][i % 4];
}

extern "C" __global__ void wgmma_rows_k(const unsigned short* a, const unsigned char* b, int b_bytes, int leading,
                                        float* out) {
  product_of_rows<true>(a, b, b_bytes, leading, out);
}
extern "C" __global__ void wgmma_rows_n(const unsigned short* a, const unsigned char* b, int b_bytes, int leading,
                                        float* out) {
  product_of_rows<false>(a, b, b_bytes, leading, out);
}

// Lane l passes r[i] = values[4 l + i]; row i of 32 goes to 16 bytes at 32 i.
extern "C" __global__ void store_four_matrices(const unsigned* values, int transposed, unsigned char* out) {
  __shared__ __align__(16) unsigned char rows[32 * 32];
  const int lane = threadIdx.x;
  unsigned r[4];
  for (int i = 0; i < 4; i++) r[i] = values[4 * lane + i];
  if (transposed)
    stmatrix_x4_transposed(rows + 32 * lane, r);
  else
    stmatrix_x4(rows + 32 * lane, r);
  __syncthreads();
  for (int i = 0; i < 16; i++) out[16 * lane + i] = rows[32 * lane + i];
}

// A box to the matrix of the map. What is wrong is chosen by `mistake`; 0: nothing.
extern "C" __global__ void store_a_box(const TensorMap map, int x, int y, int z, int bytes, const unsigned char* from,
                                       int mistake) {
  DYNAMIC_SHARED(shared);
  unsigned char* box = align_to_swizzle(shared);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) box[i] = from[i];
  if (mistake != 1) fence_async();
  __syncthreads();
  if (mistake == 2) box[threadIdx.x] ^= 1;  // after the fence
  __syncthreads();
  if (threadIdx.x == 0) {
    tensor_store(&map, x, y, z, box + (mistake == 5 ? 128 : 0));
    if (mistake != 6) commit_tensor_stores();
    if (mistake == 3) box[0] ^= 1;  // before the store has read it
    if (mistake != 4) tensor_stores_read<0>();
    box[0] ^= 1;
  }
}

// A box to the matrix and back by ordinary loads: what a wait for the reads of a store says nothing of.
extern "C" __global__ void read_a_store(const TensorMap map, int bytes, const unsigned short* matrix,
                                        unsigned short* seen) {
  DYNAMIC_SHARED(shared);
  unsigned char* box = align_to_swizzle(shared);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) box[i] = 0x3F;
  fence_async();
  __syncthreads();
  if (threadIdx.x > 0) return;
  tensor_store(&map, 0, 0, 0, box);
  commit_tensor_stores();
  tensor_stores_read<0>();
  *seen = *matrix;
}

// Boxes to the matrix, one after the other, from the same memory, which the first lanes fence.
extern "C" __global__ void store_boxes(const TensorMap map, int bytes, int boxes, int fencing) {
  DYNAMIC_SHARED(shared);
  unsigned char* box = align_to_swizzle(shared);
  for (int i = 0; i < boxes; i++) {
    for (int j = threadIdx.x; j < bytes; j += blockDim.x) box[j] = i + 1;
    __syncwarp();
    if (int(threadIdx.x) < fencing) fence_async(box, bytes);
    __syncwarp();
    if (threadIdx.x == 0) {
      tensor_store(&map, 0, 0, i, box);
      commit_tensor_stores();
      tensor_stores_read<0>();
    }
    __syncwarp();
  }
}

// The first of three warpgroups gives registers, the others take them. What is wrong is chosen by `mistake`; 0: nothing.
extern "C" __global__ void __launch_bounds__(384) share_registers(int mistake) {
  if (threadIdx.x < 128) {
    if (mistake == 1)
      registers_take<24>();
    else if (mistake != 3 || threadIdx.x < 64)
      registers_give<40>();
  } else if (mistake == 2) {
    registers_give<232>();
  } else if (mistake == 4) {
    registers_take<240>();
  } else {
    registers_take<232>();
  }
}

// An address of global memory where one of shared memory should be.
extern "C" __global__ void not_in_shared_memory(unsigned char* memory, int mistake) {
  unsigned r[4] = {};
  if (mistake == 0) ldmatrix_x4(r, memory);
  if (mistake == 1) stmatrix_x4(memory, r);
  if (mistake == 2) copy16_async(memory, memory, 0);
  if (mistake == 3) barrier_init(reinterpret_cast<Barrier*>(memory), 1);
}

// Two groups of 64 threads take turns, in this order: each adds its number to what the other left.
extern "C" __global__ void take_turns(int rounds, int mistake, int* seen) {
  __shared__ int ball;
  const int group = threadIdx.x / 64;
  if (threadIdx.x == 0) ball = 0;
  __syncthreads();
  if (group == 1) named_barrier_arrive<128>(1);  // group 0 begins
  for (int i = 0; i < rounds; i++) {
    if (mistake != 1) named_barrier_wait<128>(1 + group);
    const int old = ball;
    named_barrier_wait<64>(3 + group);
    if (threadIdx.x % 64 == 5) ball = 2 * old + group;
    seen[i * blockDim.x + threadIdx.x] = old;
    if (i + 1 < rounds || group == 0) named_barrier_arrive<128>(2 - group);
  }
}

// What is wrong is chosen by `mistake`; 0: nothing.
extern "C" __global__ void wgmma_wrong(int mistake) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  for (int i = threadIdx.x; i < 4 * 8192; i += blockDim.x) tiles[i] = 0;
  fence_async();
  __syncthreads();
  unsigned rows[4] = {};
  float d[16][4];
  auto a = wgmma_factor<true>(tiles, 0), b = wgmma_factor<true>(tiles + 8192, 0);
  if (mistake == 2) a &= ~(3ull << 62);                            // no swizzle
  if (mistake == 3) b = wgmma_advance(b, 3 * 8192);                // beyond what the launch gave
  if (mistake == 4 && threadIdx.x / 32 == 2) a += 2;               // one warp elsewhere
  if (mistake == 7) b |= 1ull << 60;                               // no field of a descriptor
  for (int i = 0; i < 64; i++) d[i / 4][i % 4] = 0;
  if (mistake != 1) wgmma_fence(d);
  if (mistake == 8) d[3][1] = 1;
  if (mistake == 9) rows[2] = threadIdx.x + 1;
  if (mistake == 6 || mistake == 9)
    wgmma<true>(d, rows, b, false);
  else
    wgmma<true, true, true>(d, a, b, false);
  wgmma_commit();
  if (mistake == 6) rows[1] = threadIdx.x;
  if (mistake != 5) wgmma_wait(d);
}

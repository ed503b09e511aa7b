// Small kernels for test_shim_hopper.py: right ones that show what the shim does, and wrong ones that it must refuse.
// Arch: sm_90a
#include "common/cluster.cuh"
#include "common/mbarrier.cuh"
#include "common/numbers.cuh"
#include "common/tensor_copy.cuh"
#include "common/wgmma.cuh"

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
  __syncthreads();
}

// d = A B, d += A B again, for tiles as they lie in shared memory; and d before the wait.
template <bool BF16, bool A_K, bool B_K>
__device__ __forceinline__ void product(const unsigned char* a, const unsigned char* b, int a_bytes, int b_bytes,
                                        int leading, float* early, float* out) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  bring(tiles, a, a_bytes);
  bring(tiles + a_bytes, b, b_bytes);
  float d[16][4];
  const auto a_factor = wgmma_factor<A_K>(tiles, leading), b_factor = wgmma_factor<B_K>(tiles + a_bytes, leading);
  wgmma_fence(d);
  wgmma<BF16, A_K, B_K>(d, a_factor, b_factor, false);
  wgmma<BF16, A_K, B_K>(d, a_factor, b_factor, true);
  wgmma_commit();
  for (int i = 0; i < 64; i++) early[threadIdx.x * 64 + i] = d[i / 4][i % 4];
  wgmma_wait(d);
  for (int i = 0; i < 64; i++) out[threadIdx.x * 64 + i] = d[i / 4][i % 4];
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

// What is wrong is chosen by `mistake`; 0: nothing.
extern "C" __global__ void wgmma_wrong(int mistake) {
  DYNAMIC_SHARED(shared);
  unsigned char* tiles = align_to_swizzle(shared);
  for (int i = threadIdx.x; i < 4 * 8192; i += blockDim.x) tiles[i] = 0;
  __syncthreads();
  float d[16][4];
  auto a = wgmma_factor<true>(tiles, 0), b = wgmma_factor<true>(tiles + 8192, 0);
  if (mistake == 2) a &= ~(3ull << 62);                            // no swizzle
  if (mistake == 3) b = wgmma_advance(b, 3 * 8192);                // beyond what the launch gave
  if (mistake == 4 && threadIdx.x / 32 == 2) a += 2;               // one warp elsewhere
  if (mistake != 1) wgmma_fence(d);
  wgmma<true, true, true>(d, a, b, false);
  wgmma_commit();
  if (mistake != 5) wgmma_wait(d);
}

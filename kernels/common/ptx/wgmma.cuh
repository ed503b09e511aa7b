// wgmma (sm_90a): a warpgroup (four warps, the first a multiple of 4) multiplies A (64 x K) by B (K x N) and adds to D
// (64 x N, float) in its registers, while its threads continue. N is any multiple of 8 up to 256, K is 32 bytes: 16
// bf16, or 8 tf32. B is in shared memory, A too, or (bf16) in registers. D has the layout of mma, warp w of the group
// holding rows 16 w to 16 w + 15: d[j][i] is column 8 j + 2 (lane % 4) + i % 2 of row 16 w + lane / 4 + 8 (i / 2).
// PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions".
//
// wgmma reads shared memory by the async proxy: what threads write there is seen after fence_async() (async_proxy.cuh)
// of the threads that wrote it and a barrier; what tensor copies bring needs neither.
//
// The order of one batch: fence (registers are as they should be), products, commit, and a wait before D is touched or
// the memory of the factors is released. To a compiler the products are done where they are issued: keep() holds what D
// was before at the fence, and its use after at the wait, as CUTLASS' warpgroup_fence_operand does.
#pragma once
#include "common/ptx/async_proxy.cuh"
#include "common/ptx/keep.cuh"
#include "common/ptx/shared.cuh"
#include "common/ptx/wgmma_operands.cuh"

// The place of a factor: rows of 128 bytes, swizzled as in tensor_copy.cuh, in groups of eight (1024 bytes).
// K_CONTIGUOUS: rows of the tile, groups after groups. Else a row is one k and 64 (bf16) columns wide, and columns
// beyond follow `leading` bytes later. The layout of the bits: PTX ISA, "Matrix Descriptor".
template <bool K_CONTIGUOUS>
__device__ __forceinline__ unsigned long long wgmma_factor(const void* tile, int leading) {
  const unsigned long long SWIZZLE_128 = 1ull << 62, GROUP = 1024;
  const unsigned long long first = (shared_address(tile) & 0x3FFFF) >> 4;
  return first | (unsigned long long)(K_CONTIGUOUS ? 1 : leading >> 4) << 16 | (GROUP >> 4) << 32 | SWIZZLE_128;
}

// The same factor `bytes` further on.
__device__ __forceinline__ unsigned long long wgmma_advance(unsigned long long factor, int bytes) {
  return factor + (bytes >> 4);
}

// The same factor, as a number that the compiler knows to be the same in all lanes. What is derived from it does not
// stay in registers from one call to the next, where it would take many.
__device__ __forceinline__ unsigned long long wgmma_factor_of_warp(unsigned long long factor) {
  return factor >> 32 << 32 | __shfl_sync(~0u, static_cast<unsigned>(factor), 0);
}

template <class T, int GROUPS>
__device__ __forceinline__ void keep_sums(T (&d)[GROUPS][4]) {
#pragma unroll
  for (int j = 0; j < GROUPS; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) keep(d[j][i]);
}

// Before the first product of new sums in registers of old ones.
template <int GROUPS>
__device__ __forceinline__ void forget_sums(float (&d)[GROUPS][4]) {
#pragma unroll
  for (int j = 0; j < GROUPS; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) forget(d[j][i]);
}

template <int GROUPS>
__device__ __forceinline__ void wgmma_fence(float (&d)[GROUPS][4]) {
  keep_sums(d);
#ifdef CUDA_ON_CPU
  on_cpu::fence_registers();
#else
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

template <int SLABS, int GROUPS>
__device__ __forceinline__ void wgmma_fence(float (&d)[SLABS][GROUPS][4]) {
#pragma unroll
  for (int i = 1; i < SLABS; i++) keep_sums(d[i]);
  wgmma_fence(d[0]);
}

__device__ __forceinline__ void wgmma_commit() {
#ifdef CUDA_ON_CPU
  on_cpu::commit_products();
#else
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

// Wait until at most PENDING of the newest committed groups are under way.
template <int PENDING>
__device__ __forceinline__ void wgmma_wait() {
#ifdef CUDA_ON_CPU
  on_cpu::wait_products(PENDING);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
#endif
}

// Wait for all of them; then d is there.
template <int GROUPS>
__device__ __forceinline__ void wgmma_wait(float (&d)[GROUPS][4]) {
  wgmma_wait<0>();
  keep_sums(d);
}

template <int SLABS, int GROUPS>
__device__ __forceinline__ void wgmma_wait(float (&d)[SLABS][GROUPS][4]) {
  wgmma_wait<0>();
#pragma unroll
  for (int i = 0; i < SLABS; i++) keep_sums(d[i]);
}

// Registers move between warpgroups: a producer needs few, and all of them together have 64 K. The compiler must know
// how many there are at the beginning: __launch_bounds__ has to say the least number of blocks, too.
template <int COUNT>
__device__ __forceinline__ void registers_give() {
  static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256, "setmaxnreg");
#ifdef CUDA_ON_CPU
  on_cpu::block.set_registers(COUNT, false);
#else
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}

template <int COUNT>
__device__ __forceinline__ void registers_take() {
  static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256, "setmaxnreg");
#ifdef CUDA_ON_CPU
  on_cpu::block.set_registers(COUNT, true);
#else
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}

#ifndef CUDA_ON_CPU
// The instruction of each width. wgmma_operands.cuh has the names of the sums, and the numbers of the operands behind.
template <int GROUPS>
struct WgmmaWidth;

#define WGMMA(columns, types, names, factors, add, flags)                                                             \
  "{\n.reg .pred add;\nsetp.ne.b32 add, %" #add ", 0;\nwgmma.mma_async.sync.aligned.m64n" #columns types " {" names \
  "}, " factors ", add, 1, 1" flags ";\n}"
#define WGMMA_BF16(columns, names, a, b, add, a_flag, b_flag, ...)                                                \
  WGMMA(columns, "k16.f32.bf16.bf16", names, "%" #a ", %" #b, add, ", %" #a_flag ", %" #b_flag)
#define WGMMA_TF32(columns, names, a, b, add, ...) \
  WGMMA(columns, "k8.f32.tf32.tf32", names, "%" #a ", %" #b, add, "")
#define WGMMA_ROWS(columns, names, a0, a1, a2, a3, b, add, b_flag, ...)                                            \
  WGMMA(columns, "k16.f32.bf16.bf16", names, "{%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b, add, ", %" #b_flag)
#define WGMMA_TEXT(kind, ...) kind(__VA_ARGS__)

#define WGMMA_WIDTH(g, columns, next)                                                                                 \
  template <>                                                                                                         \
  struct WgmmaWidth<g> {                                                                                              \
    template <bool BF16, bool A_K, bool B_K>                                                                          \
    static __device__ __forceinline__ void shared(float (&d)[g][4], unsigned long long a, unsigned long long b,       \
                                                  int add) {                                                          \
      if constexpr (BF16)                                                                                             \
        asm volatile(WGMMA_TEXT(WGMMA_BF16, columns, NAMES_##g, NUMBERS_##g, NUMBERS_##next)                          \
                     : SUMS_##g                                                                                       \
                     : "l"(a), "l"(b), "r"(add), "n"(int(!A_K)), "n"(int(!B_K)));                                     \
      else                                                                                                            \
        asm volatile(WGMMA_TEXT(WGMMA_TF32, columns, NAMES_##g, NUMBERS_##g, NUMBERS_##next)                          \
                     : SUMS_##g                                                                                       \
                     : "l"(a), "l"(b), "r"(add));                                                                     \
    }                                                                                                                 \
    template <bool B_K>                                                                                               \
    static __device__ __forceinline__ void rows(float (&d)[g][4], const unsigned (&a)[4], unsigned long long b,       \
                                                int add) {                                                            \
      asm volatile(WGMMA_TEXT(WGMMA_ROWS, columns, NAMES_##g, NUMBERS_##g, NUMBERS_##next)                            \
                   : SUMS_##g                                                                                         \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(int(!B_K)));                   \
    }                                                                                                                 \
  };
EACH_WGMMA(WGMMA_WIDTH)
#undef WGMMA
#undef WGMMA_BF16
#undef WGMMA_TF32
#undef WGMMA_ROWS
#undef WGMMA_TEXT
#undef WGMMA_WIDTH
#endif

// d = A B, or d += A B. The flags say whether a factor is K_CONTIGUOUS; tf32 must be.
template <bool BF16, bool A_K, bool B_K, int GROUPS>
__device__ __forceinline__ void wgmma(float (&d)[GROUPS][4], unsigned long long a, unsigned long long b, bool add) {
  static_assert(GROUPS >= 1 && GROUPS <= 32, "8 to 256 columns");
  static_assert(BF16 || (A_K && B_K), "tf32 factors are contiguous in k");
#ifdef CUDA_ON_CPU
  on_cpu::start_product(a, nullptr, b, A_K, B_K, add, BF16, &d[0][0], 8 * GROUPS);
#else
  WgmmaWidth<GROUPS>::template shared<BF16, A_K, B_K>(d, a, b, add);
#endif
}

// The same in bf16 with A from registers: a lane holds in a[i] two neighbors in k, 8 (i / 2) + 2 (lane % 4) (the lower
// 16 bits) and the next, of row 16 w + lane / 4 + 8 (i % 2): what mma takes, and what a pair of sums becomes when
// rounded. They are read until the wait: the array lives until then, unchanged; keep_sums() after it says so.
template <bool B_K, int GROUPS>
__device__ __forceinline__ void wgmma(float (&d)[GROUPS][4], const unsigned (&a)[4], unsigned long long b, bool add) {
  static_assert(GROUPS >= 1 && GROUPS <= 32, "8 to 256 columns");
#ifdef CUDA_ON_CPU
  on_cpu::start_product(0, a, b, true, B_K, add, true, &d[0][0], 8 * GROUPS);
#else
  WgmmaWidth<GROUPS>::template rows<B_K>(d, a, b, add);
#endif
}

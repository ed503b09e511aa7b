// wgmma (sm_90a): a warpgroup (four warps, the first a multiple of 4) multiplies A (64 x K) by B (K x N), both in
// shared memory, and adds to D (64 x N, float) in its registers, while its threads continue. A K of 32 bytes: 16 bf16,
// or 8 tf32. D has the layout of mma, warp w of the group holding rows 16 w to 16 w + 15: d[j][i] is column 8 j + 2
// (lane % 4) + i % 2 of row 16 w + lane / 4 + 8 (i / 2). PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions".
//
// The order of one batch: fence (registers are as they should be), products, commit, and a wait before D is touched or
// the memory of the factors is released. To a compiler the products are done where they are issued: keep() holds what D
// was before at the fence, and its use after at the wait, as CUTLASS' warpgroup_fence_operand does.
#pragma once
#include "keep.cuh"
#include "shared.cuh"

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

template <int GROUPS>
__device__ __forceinline__ void keep_sums(float (&d)[GROUPS][4]) {
#pragma unroll
  for (int j = 0; j < GROUPS; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) keep(d[j][i]);
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

// Registers move between warpgroups: a producer needs few, and all of them together have 64 K.
template <int COUNT>
__device__ __forceinline__ void registers_give() {
  static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256, "setmaxnreg");
#ifndef CUDA_ON_CPU
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}

template <int COUNT>
__device__ __forceinline__ void registers_take() {
  static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256, "setmaxnreg");
#ifndef CUDA_ON_CPU
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}

// d = A B, or d += A B. The flags say whether a factor is K_CONTIGUOUS; tf32 must be.
template <bool BF16, bool A_K, bool B_K, int GROUPS>
__device__ __forceinline__ void wgmma(float (&d)[GROUPS][4], unsigned long long a, unsigned long long b, bool add) {
  static_assert(GROUPS == 16 || GROUPS == 32, "of the many widths of wgmma, two: 128 and 256 columns");
  static_assert(BF16 || (A_K && B_K), "tf32 factors are contiguous in k");
#ifdef CUDA_ON_CPU
  on_cpu::start_product(a, b, A_K, B_K, add, BF16, &d[0][0], 8 * GROUPS);
#else
#define SUMS_2(j) \
  "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3]), "+f"(d[j + 1][0]), "+f"(d[j + 1][1]), \
      "+f"(d[j + 1][2]), "+f"(d[j + 1][3])
#define SUMS_8(j) SUMS_2(j), SUMS_2(j + 2), SUMS_2(j + 4), SUMS_2(j + 6)
#define SUMS_16 SUMS_8(0), SUMS_8(8)
#define SUMS_32 SUMS_16, SUMS_8(16), SUMS_8(24)
#define NAMES_128 \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
#define NAMES_256 \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
#define WGMMA(shape, names, first, second, third, flags) \
  "{\n.reg .pred add;\nsetp.ne.b32 add, " third ", 0;\nwgmma.mma_async.sync.aligned." shape " " names first ", " \
  second ", add, 1, 1" flags ";\n}"
#define TRANSPOSED "n"(int(!A_K)), "n"(int(!B_K))
  if constexpr (BF16 && GROUPS == 16)
    asm volatile(WGMMA("m64n128k16.f32.bf16.bf16", NAMES_128, "%64", "%65", "%66", ", %67, %68")
                 : SUMS_16
                 : "l"(a), "l"(b), "r"(int(add)), TRANSPOSED);
  else if constexpr (BF16)
    asm volatile(WGMMA("m64n256k16.f32.bf16.bf16", NAMES_256, "%128", "%129", "%130", ", %131, %132")
                 : SUMS_32
                 : "l"(a), "l"(b), "r"(int(add)), TRANSPOSED);
  else if constexpr (GROUPS == 16)
    asm volatile(WGMMA("m64n128k8.f32.tf32.tf32", NAMES_128, "%64", "%65", "%66", "")
                 : SUMS_16
                 : "l"(a), "l"(b), "r"(int(add)));
  else
    asm volatile(WGMMA("m64n256k8.f32.tf32.tf32", NAMES_256, "%128", "%129", "%130", "")
                 : SUMS_32
                 : "l"(a), "l"(b), "r"(int(add)));
#undef SUMS_2
#undef SUMS_8
#undef SUMS_16
#undef SUMS_32
#undef NAMES_128
#undef NAMES_256
#undef WGMMA
#undef TRANSPOSED
#endif
}

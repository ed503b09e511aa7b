// Dropout masks from a counter: the bits of NumPy's Philox, so that a mask is the same on a GPU and on a CPU
//     element j of sample i keeps its value, times 65536 / (65536 - threshold), where its 16 random bits >= threshold
// Shapes: mask (N, D) fp32. 16 elements a tick of the counter; row i begins at tick (first + i) ceil(D / 16).
// Launch: one thread a tick, 256 a block
// Roofline: 4 ND bytes; memory-bound. Oracle: ops/dropout.py. Source: Salmon et al. 2011, "Parallel random numbers: as
//     easy as 1, 2, 3": Philox4x64, 10 rounds.

struct Philox {
  unsigned long long word[4];
};

__device__ __forceinline__ unsigned long long upper_product(unsigned long long a, unsigned long long b) {
#ifdef CUDA_ON_CPU
  return (unsigned long long)((unsigned __int128)a * b >> 64);
#else
  return __umul64hi(a, b);
#endif
}

__device__ __forceinline__ Philox philox(Philox x, unsigned long long key) {
  unsigned long long second = 0;
  for (int round = 0; round < 10; round++) {
    const unsigned long long a = 0xD2E7470EE14C6C93ull, b = 0xCA5A826395121157ull;
    const unsigned long long high_a = upper_product(a, x.word[0]), high_b = upper_product(b, x.word[2]);
    x = {{high_b ^ x.word[1] ^ key, b * x.word[2], high_a ^ x.word[3] ^ second, a * x.word[0]}};
    key += 0x9E3779B97F4A7C15ull;
    second += 0xBB67AE8584CAA73Bull;
  }
  return x;
}

extern "C" __global__ void __launch_bounds__(256)
    dropout_mask(float* mask, const long long num_rows, const int num_columns, const int threshold,
                 const unsigned long long seed, const unsigned long long layer, const unsigned long long step,
                 const unsigned long long first) {
  const int ticks = (num_columns + 15) / 16;
  const long long i = blockIdx.x * 256ll + threadIdx.x;
  if (i >= num_rows * ticks) return;
  const Philox bits = philox({{first * ticks + i + 1, 0, step, layer}}, seed);  // NumPy counts before it draws
  const int from = int(i % ticks) * 16;
  float* row = mask + i / ticks * num_columns;
  const float scale = 65536.0f / (65536 - threshold);
#pragma unroll
  for (int j = 0; j < 16; j++)
    if (from + j < num_columns)
      row[from + j] = int(bits.word[j / 4] >> 16 * (j % 4) & 0xFFFF) >= threshold ? scale : 0;
}

// Random bits by counter: Philox 4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), the bits of
// numpy.random.Philox. Oracle: ops/dropout.py.
#pragma once

struct Words {
  unsigned long long at[4];

  // Word i, by choices: an index that is not known to the compiler would put all into local memory.
  __device__ __forceinline__ unsigned long long word(int i) const {
    return i & 2 ? (i & 1 ? at[3] : at[2]) : (i & 1 ? at[1] : at[0]);
  }
};

// Ten rounds of the cipher: counter (4 words) under a key (2 words).
__device__ __forceinline__ Words philox(Words counter, unsigned long long key0, unsigned long long key1) {
  constexpr unsigned long long M0 = 0xD2E7470EE14C6C93, M1 = 0xCA5A826395121157;
  constexpr unsigned long long STEP0 = 0x9E3779B97F4A7C15, STEP1 = 0xBB67AE8584CAA73B;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned long long (&c)[4] = counter.at;
    counter = {{__umul64hi(M1, c[2]) ^ c[1] ^ key0, M1 * c[2], __umul64hi(M0, c[0]) ^ c[3] ^ key1, M0 * c[0]}};
    key0 += STEP0;
    key1 += STEP1;
  }
  return counter;
}

constexpr int TICK = 16;  // elements of 16 bits each in the four words of one counter

// The words for `tick` of a layer in a step.
__device__ __forceinline__ Words random_words(unsigned long long tick, long long seed, long long layer, long long step) {
  return philox({{tick + 1, 0, (unsigned long long)step, (unsigned long long)layer}}, seed, 0);  // it counts, then draws
}

// What element `i` of a tick is multiplied by: p = threshold / 65536 of the elements are dropped.
__device__ __forceinline__ float factor_of(const Words& bits, int i, int threshold, float scale) {
  return int(bits.word(i / 4) >> 16 * (i % 4) & 0xFFFF) >= threshold ? scale : 0.f;
}

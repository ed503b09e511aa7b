// Sums, and moments, over the 8 lanes of a warp that are 4 apart, which hold the same columns for other rows. Half of the
// columns are given away each time, so that each lane gets 1 of 8: a quarter of the shuffles of as many sums for all.
#pragma once

// x[j]: sums of this lane over its rows. Sums over the 8 lanes that differ in BIT, and in smaller ones, down to 4: each
// lane gets COUNT / 8 of them in x (at least one: of 4, two lanes get the same), and returns the number of the first.
template <int COUNT, int BIT = 16, int ALL>
__device__ __forceinline__ int scatter_sums(float (&x)[ALL]) {
  constexpr int HALF = COUNT / 2;
  const bool upper = threadIdx.x & BIT;
  if constexpr (HALF == 0) x[0] += __shfl_xor_sync(~0u, x[0], BIT);
#pragma unroll
  for (int j = 0; j < HALF; j++) {
    const float kept = upper ? x[j + HALF] : x[j], given = upper ? x[j] : x[j + HALF];
    x[j] = kept + __shfl_xor_sync(~0u, given, BIT);
  }
  const int first = upper ? HALF : 0;
  if constexpr (BIT > 4)
    return first + scatter_sums<(HALF > 0 ? HALF : 1), BIT / 2>(x);
  else
    return first;
}

// How many rows count on either side when moments of two lanes are merged, for each of the three times.
struct RowCounts {
  float part[3], weight[3];  // the other's share of both, and that of its rows times mine
  // mine: rows of this lane
  __device__ __forceinline__ explicit RowCounts(int mine) {
    float count = mine;
#pragma unroll
    for (int i = 0; i < 3; i++) {
      const float other = __shfl_xor_sync(~0u, count, 16 >> i), both = count + other;
      part[i] = both > 0 ? other / both : 0;
      weight[i] = count * part[i];
      count = both;
    }
  }
};

// The same as scatter_sums of mean and squared differences from it (Chan et al. 1979).
template <int COUNT, int STEP = 0, int ALL>
__device__ __forceinline__ int scatter_moments(float (&mean)[ALL], float (&squares)[ALL], const RowCounts& counts) {
  constexpr int BIT = 16 >> STEP, HALF = COUNT / 2;
  const bool upper = HALF > 0 && threadIdx.x & BIT;
#pragma unroll
  for (int j = 0; j < (HALF > 0 ? HALF : 1); j++) {
    const float own = upper ? mean[j + HALF] : mean[j], given = upper ? mean[j] : mean[j + HALF];
    const float own_squares = upper ? squares[j + HALF] : squares[j], its = upper ? squares[j] : squares[j + HALF];
    const float apart = __shfl_xor_sync(~0u, given, BIT) - own;
    mean[j] = own + apart * counts.part[STEP];
    squares[j] = own_squares + __shfl_xor_sync(~0u, its, BIT) + apart * apart * counts.weight[STEP];
  }
  const int first = upper ? HALF : 0;
  if constexpr (STEP < 2)
    return first + scatter_moments<(HALF > 0 ? HALF : 1), STEP + 1>(mean, squares, counts);
  else
    return first;
}

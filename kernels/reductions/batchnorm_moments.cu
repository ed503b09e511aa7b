// Moments of batch normalization: mean and squared differences of the channels of parts of all rows
// Shapes: x (rows, channels) of Element, one row per pixel; moments (parts, 2, channels), slabs (slabs, 2, channels) float
// Launch: grid (ceil(channels / 128), parts), block 256, parts = ceil(rows / rows_per_part); merge_slabs: parts =
//     ceil(slabs / slabs_per_part)
// Roofline: one read of x; memory-bound. Oracle: ops/batchnorm.py. Source: Ioffe and Szegedy 2015, arXiv 1502.03167;
//     Welford 1962, Technometrics 4; Chan et al. 1979, "Updating formulae and a pairwise algorithm for computing sample
//     variances".
// They have not run on a GPU.
//
// Mean and squared differences are kept together and merged, from threads to parts in float, from parts to channels in
// double (batchnorm_statistics.cu): x is read once, and a large mean costs no precision. Where the product that writes x
// leaves moments of slabs of rows (COLUMN_MOMENTS of products/epilogue.cuh), merge_slabs takes the place of moments: x is
// not read for them.
#include "reductions/columns.cuh"

constexpr int TOGETHER = 4;  // rows

struct Moments {
  float count;
  float mean[PIECE], squares[PIECE];  // squares: about the mean
  __device__ __forceinline__ void add(const Vec<Element, PIECE>& x) {
    count += 1;
    const float part = 1 / count;
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      const float apart = to_float(x.at[i]) - mean[i];
      mean[i] += apart * part;
      squares[i] += apart * (to_float(x.at[i]) - mean[i]);
    }
  }
  // Rows together, by their own mean: one division for all of them, and no chain from row to row.
  __device__ __forceinline__ void add(const Vec<Element, PIECE> (&x)[TOGETHER]) {
    const float both = count + TOGETHER, part = TOGETHER / both, weight = count * part;
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      float sum = 0, own = 0;
#pragma unroll
      for (int row = 0; row < TOGETHER; row++) sum += to_float(x[row].at[i]);
      const float middle = sum * (1.f / TOGETHER);
#pragma unroll
      for (int row = 0; row < TOGETHER; row++) {
        const float off = to_float(x[row].at[i]) - middle;
        own += off * off;
      }
      const float apart = middle - mean[i];
      mean[i] += apart * part;
      squares[i] += own + apart * apart * weight;
    }
    count = both;
  }
  __device__ __forceinline__ void merge(const Moments& other) {
    const float both = count + other.count, part = both > 0 ? other.count / both : 0;
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      const float apart = other.mean[i] - mean[i];
      mean[i] += apart * part;
      squares[i] += other.squares[i] + apart * apart * count * part;
    }
    count = both;
  }
  __device__ __forceinline__ Moments of_lane(int apart) const {
    Moments other;
    other.count = __shfl_xor_sync(~0u, count, apart);
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      other.mean[i] = __shfl_xor_sync(~0u, mean[i], apart);
      other.squares[i] = __shfl_xor_sync(~0u, squares[i], apart);
    }
    return other;
  }
};

extern "C" __global__ void __launch_bounds__(256)
batchnorm_moments(const Element* x, float* moments, int rows, int channels, int rows_per_part) {
  __shared__ Moments parts[COLUMN_WARPS][32];
  const Columns columns(rows, channels, rows_per_part);
  const int count = channels - columns.first;
  Moments mine = {};
  columns.each<TOGETHER>(
      channels, rows_aligned<PIECE>(x, channels),
      [&](int row, int count, bool whole) {
        return load<PIECE>(x + (long long)row * channels + columns.first, count, whole);
      },
      [&](const Vec<Element, PIECE> (&several)[TOGETHER]) { mine.add(several); },
      [&](const Vec<Element, PIECE>& one) { mine.add(one); });
  mine = fold(mine, columns, parts);
  if (int(threadIdx.x) >= columns.across) return;
  float* to = moments + 2ll * blockIdx.y * channels + columns.first;
  write_columns(to, mine.mean, count, false);
  write_columns(to + channels, mine.squares, count, false);
}

// Moments of slabs of rows to those of parts, of `slabs_per_part` slabs each; the last of both may be shorter.
extern "C" __global__ void __launch_bounds__(256)
batchnorm_merge_slabs(const float* slabs, float* moments, int rows, int channels, int rows_per_slab,
                      int slabs_per_part) {
  __shared__ Moments parts[COLUMN_WARPS][32];
  const Columns columns((rows + rows_per_slab - 1) / rows_per_slab, channels, slabs_per_part);
  const int count = channels - columns.first;
  Moments mine = {};
  columns.each<2>(
      channels, rows_aligned<PIECE>(slabs, channels),
      [&](int slab, int count, bool whole) {
        const float* from = slabs + 2ll * slab * channels + columns.first;
        const auto mean = load<PIECE>(from, count, whole), squares = load<PIECE>(from + channels, count, whole);
        Moments of_slab;
        of_slab.count = min(rows - slab * rows_per_slab, rows_per_slab);
#pragma unroll
        for (int i = 0; i < PIECE; i++) {
          of_slab.mean[i] = mean.at[i];
          of_slab.squares[i] = squares.at[i];
        }
        return of_slab;
      },
      [&](const Moments (&both)[2]) {
        mine.merge(both[0]);
        mine.merge(both[1]);
      },
      [&](const Moments& one) { mine.merge(one); });
  mine = fold(mine, columns, parts);
  if (int(threadIdx.x) >= columns.across) return;
  float* to = moments + 2ll * blockIdx.y * channels + columns.first;
  write_columns(to, mine.mean, count, false);
  write_columns(to + channels, mine.squares, count, false);
}

// Passes of batch normalization over images: y = scale (x - mean) + shift, and its gradients
// Shapes: x, y, dy, dx (rows, channels) of Element, one row per pixel; sums (parts, 2, channels) float; kept (5, channels)
//     float: mean, r, offset, scale, shift; slopes (3, channels) float: a, b, c; w, b, mean, var (channels,) float
// Launch: sums: grid (ceil(channels / 128), parts), block 256, parts = ceil(rows / rows_per_part);
//     apply, dx, evaluate: across: pieces of 16 bytes of a period, down: periods; see reductions/periods.cuh
// Roofline: forward a read and a write after the moments, backward four reads and a write, with ReLU or without; the end
//     of a residual block (ADDS) a read more forward, and backward one and a write; memory-bound. Oracle: ops/batchnorm.py. Source: Ioffe and Szegedy 2015, arXiv 1502.03167.
// They have not run on a GPU.
//
// A step has three launches forward and three backward: batchnorm_moments.cu, batchnorm_statistics.cu, apply; and sums,
// batchnorm_statistics.cu, dx. At the end of a residual block, y = max(bn(x) + residual, 0), the sum and the ReLU are
// part of apply, and the mask of the ReLU, which both branches need, of sums.
#include "common/activations.cuh"
#include "reductions/columns.cuh"
#include "reductions/periods.cuh"

// The result before a ReLU. Forward and backward compute it by the same operations: backward need not read y to know
// where the ReLU let it pass.
__device__ __forceinline__ float normalized(float x, float mean, float scale, float shift) {
  return fmaf(scale, x - mean, shift);
}

// The sums of dy, where a ReLU let it pass, and of dy (x - mean). ADDS: the ReLU followed the sum with a residual, so y
// tells, and dy becomes the gradient of both, 0 where the ReLU let nothing pass.
template <bool ADDS>
__device__ __forceinline__ void sum_gradients(const Element* dy, Element* masked, const Element* x, const Element* y,
                                              const float* kept, int relu, float* sums, int rows, int channels,
                                              int rows_per_part) {
  __shared__ Sums<2> parts[COLUMN_WARPS][32];
  const Columns columns(rows, channels, rows_per_part);
  const int count = channels - columns.first;
  const auto of = [&](int vector) { return load<PIECE>(kept + vector * channels + columns.first, count, false); };
  const auto mean = of(0), scale = of(3), shift = of(4);
  struct Row {
    Vec<Element, PIECE> slope, pixel, seen;
    long long at;
    bool whole;
  };
  Sums<2> sum = {};
  const auto add = [&](const Row& row) {
    Vec<float, PIECE> values;
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      const float pixel = to_float(row.pixel.at[i]);
      float value = to_float(row.slope.at[i]);
      if (ADDS)
        value *= relu_slope(to_float(row.seen.at[i]));
      else if (relu)
        value *= relu_slope(normalized(pixel, mean.at[i], scale.at[i], shift.at[i]));
      values.at[i] = value;
      sum.at[0][i] += value;
      sum.at[1][i] += value * (pixel - mean.at[i]);
    }
    if (ADDS) store<PIECE>(masked + row.at, Rounded<Element>::from(values), count, row.whole);
  };
  columns.each<2>(
      channels,
      rows_aligned<PIECE>(dy, channels) && rows_aligned<PIECE>(x, channels) &&
          (!ADDS || rows_aligned<PIECE>(y, channels)),
      [&](int row, int count, bool whole) {
        const long long at = (long long)row * channels + columns.first;
        Row read = {load<PIECE>(dy + at, count, whole), load<PIECE>(x + at, count, whole), {}, at, whole};
        if (ADDS) read.seen = load<PIECE>(y + at, count, whole);
        return read;
      },
      [&](const Row (&both)[2]) {
        add(both[0]);
        add(both[1]);
      },
      add);
  sum = fold(sum, columns, parts);
  if (int(threadIdx.x) >= columns.across) return;
  float* to = sums + 2ll * blockIdx.y * channels + columns.first;
  write_columns(to, sum.at[0], count, false);
  write_columns(to + channels, sum.at[1], count, false);
}

extern "C" __global__ void __launch_bounds__(256)
batchnorm_sums(const Element* dy, const Element* x, const float* kept, int relu, float* sums, int rows, int channels,
               int rows_per_part) {
  sum_gradients<false>(dy, nullptr, x, nullptr, kept, relu, sums, rows, channels, rows_per_part);
}
extern "C" __global__ void __launch_bounds__(256)
batchnorm_sums_residual(Element* dy, const Element* x, const Element* y, const float* kept, float* sums, int rows,
                        int channels, int rows_per_part) {
  sum_gradients<true>(dy, dy, x, y, kept, 1, sums, rows, channels, rows_per_part);
}

// y = scale (x - mean) + shift, with ADDS plus a residual, or the maximum of that with 0; prepare(channel) returns the
// vectors of a piece.
struct Affine {
  Vec<float, PIECE> mean, scale, shift;
};
template <bool ADDS, class Prepare>
__device__ __forceinline__ void write_affine(const Element* x, const Element* residual, Element* y, int rows,
                                             int channels, int relu, Prepare prepare) {
  struct Both {
    Vec<Element, PIECE> pixel, added;
  };
  Periods(rows, channels)
      .for_each_piece(
          channels, piece_aligned(x) && piece_aligned(y) && (!ADDS || piece_aligned(residual)),
          [&](int channel) {
            return [relu, v = prepare(channel)](const Both& both) {
              Vec<float, PIECE> out;
#pragma unroll
              for (int j = 0; j < PIECE; j++) {
                float value = normalized(to_float(both.pixel.at[j]), v.mean.at[j], v.scale.at[j], v.shift.at[j]);
                if (ADDS) value += to_float(both.added.at[j]);
                out.at[j] = relu ? relu_of(value) : value;
              }
              return Rounded<Element>::from(out);
            };
          },
          [&](long long i, int count, bool whole) {
            Both both = {load<PIECE>(x + i, count, whole), {}};
            if (ADDS) both.added = load<PIECE>(residual + i, count, whole);
            return both;
          },
          [&](long long i, int count, bool whole, const Vec<Element, PIECE>& out) {
            store<PIECE>(y + i, out, count, whole);
          });
}

// By the statistics of the batch.
template <bool ADDS>
__device__ __forceinline__ void write_by_batch(const Element* x, const Element* residual, const float* kept,
                                               Element* y, int rows, int channels, int relu) {
  write_affine<ADDS>(x, residual, y, rows, channels, relu, [&](int channel) {
    const OfChannels of(channel, channels, kept);
    return Affine{of(kept), of(kept + 3 * channels), of(kept + 4 * channels)};
  });
}

extern "C" __global__ void __launch_bounds__(256)
batchnorm_apply(const Element* x, const float* kept, Element* y, int rows, int channels, int relu) {
  write_by_batch<false>(x, nullptr, kept, y, rows, channels, relu);
}
extern "C" __global__ void __launch_bounds__(256)
batchnorm_apply_residual(const Element* x, const Element* residual, const float* kept, Element* y, int rows,
                         int channels, int relu) {
  write_by_batch<true>(x, residual, kept, y, rows, channels, relu);
}

// By the running statistics.
template <bool ADDS>
__device__ __forceinline__ void write_by_running(const Element* x, const Element* residual, const float* w,
                                                 const float* b, const float* mean, const float* var, Element* y,
                                                 int rows, int channels, float eps, int relu) {
  write_affine<ADDS>(x, residual, y, rows, channels, relu, [&](int channel) {
    const auto of = [&](const float* vector) { return OfChannels(channel, channels, vector)(vector); };
    return Affine{of(mean), apply<float>([&](float w, float var) { return w / sqrtf(var + eps); }, of(w), of(var)),
                  of(b)};
  });
}

extern "C" __global__ void __launch_bounds__(256)
batchnorm_evaluate(const Element* x, const float* w, const float* b, const float* mean, const float* var, Element* y,
                   int rows, int channels, float eps, int relu) {
  write_by_running<false>(x, nullptr, w, b, mean, var, y, rows, channels, eps, relu);
}
extern "C" __global__ void __launch_bounds__(256)
batchnorm_evaluate_residual(const Element* x, const Element* residual, const float* w, const float* b,
                            const float* mean, const float* var, Element* y, int rows, int channels, float eps,
                            int relu) {
  write_by_running<true>(x, residual, w, b, mean, var, y, rows, channels, eps, relu);
}

extern "C" __global__ void __launch_bounds__(256)
batchnorm_dx(const Element* dy, const Element* x, const float* kept, int relu, const float* slopes, Element* dx,
             int rows, int channels) {
  struct Both {
    Vec<Element, PIECE> slope, pixel;
  };
  Periods(rows, channels)
      .for_each_piece(
          channels, piece_aligned(dy) && piece_aligned(x) && piece_aligned(dx),
          [&](int channel) {
            const OfChannels of_kept(channel, channels, kept), of(channel, channels, slopes);
            const Affine v{of_kept(kept), of_kept(kept + 3 * channels), of_kept(kept + 4 * channels)};
            const auto a = of(slopes), b = of(slopes + channels), c = of(slopes + 2 * channels);
            return [=](const Both& both) {
              Vec<float, PIECE> out;
#pragma unroll
              for (int j = 0; j < PIECE; j++) {
                const float seen = to_float(both.pixel.at[j]);
                float value = to_float(both.slope.at[j]);
                if (relu) value *= relu_slope(normalized(seen, v.mean.at[j], v.scale.at[j], v.shift.at[j]));
                out.at[j] = a.at[j] * value + b.at[j] * (seen - v.mean.at[j]) + c.at[j];
              }
              return Rounded<Element>::from(out);
            };
          },
          [&](long long i, int count, bool whole) {
            return Both{load<PIECE>(dy + i, count, whole), load<PIECE>(x + i, count, whole)};
          },
          [&](long long i, int count, bool whole, const Vec<Element, PIECE>& out) {
            store<PIECE>(dx + i, out, count, whole);
          });
}

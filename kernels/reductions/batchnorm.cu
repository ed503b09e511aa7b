// Batch normalization in training: y = scale (x - mean) + shift, and its gradients; a ReLU may follow in the same pass
// Shapes: x, y, dy, dx (rows, channels) of Element, one row per pixel; moments, sums (parts, 2, channels) float; kept
//     (5, channels) float: mean, r, offset, scale, shift; slopes (3, channels) float: a, b, c; total (1 + 2 channels,)
//     and gradients (2, channels) double: the sums over ranks; w, b, dw, db, running (channels,) float
// Launch: moments, sums: grid (ceil(channels / 128), parts), block 256, parts = ceil(rows / rows_per_part);
//     merge_slabs: the same, of slabs of rows;
//     statistics, merge, prepare, gradients, slopes: grid ceil(channels / 8), block 256: one warp per channel;
//     apply, dx, evaluate: across: pieces of 16 bytes of a period, down: periods; see Periods
// Roofline: forward two reads and a write, backward four reads and a write, with ReLU or without; memory-bound.
// Oracle: ops/batchnorm.py. Source: Ioffe and Szegedy 2015, arXiv 1502.03167; Welford 1962, Technometrics 4; Chan et
//     al. 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
//
// Mean and squared differences are kept together and merged, from threads to parts in float, from parts to channels in
// double: x is read once, and a large mean costs no precision. `offset` is the center of x, this rank's mean as a
// float, minus the mean of all ranks. With one rank, statistics does the work of merge and prepare, and slopes_of_sums
// that of gradients and slopes: three launches forward, three backward. Where the product that writes x leaves moments
// of slabs of rows (COLUMN_MOMENTS of products/epilogue.cuh), merge_slabs takes the place of moments: x is not read for
// them.
#include "common/activations.cuh"
#include "common/reduce.cuh"
#include "reductions/columns.cuh"

constexpr int WARPS = 8;  // of a block with a warp for each channel

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

// The result before a ReLU. Forward and backward compute it by the same operations: backward need not read y to know
// where the ReLU let it pass.
__device__ __forceinline__ float normalized(float x, float mean, float scale, float shift) {
  return fmaf(scale, x - mean, shift);
}

// The sums of dy, where a ReLU let it pass, and of dy (x - mean).
extern "C" __global__ void __launch_bounds__(256)
batchnorm_sums(const Element* dy, const Element* x, const float* kept, int relu, float* sums, int rows, int channels,
               int rows_per_part) {
  __shared__ Sums<2> parts[COLUMN_WARPS][32];
  const Columns columns(rows, channels, rows_per_part);
  const int count = channels - columns.first;
  const auto of = [&](int vector) { return load<PIECE>(kept + vector * channels + columns.first, count, false); };
  const auto mean = of(0), scale = of(3), shift = of(4);
  struct Row {
    Vec<Element, PIECE> slope, pixel;
  };
  Sums<2> sum = {};
  const auto add = [&](const Row& row) {
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      const float pixel = to_float(row.pixel.at[i]);
      float value = to_float(row.slope.at[i]);
      if (relu) value *= relu_slope(normalized(pixel, mean.at[i], scale.at[i], shift.at[i]));
      sum.at[0][i] += value;
      sum.at[1][i] += value * (pixel - mean.at[i]);
    }
  };
  columns.each<2>(
      channels, rows_aligned<PIECE>(dy, channels) && rows_aligned<PIECE>(x, channels),
      [&](int row, int count, bool whole) {
        const long long at = (long long)row * channels + columns.first;
        return Row{load<PIECE>(dy + at, count, whole), load<PIECE>(x + at, count, whole)};
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

// The sum in double over all parts of the channel of this warp; every lane gets it.
template <class Term>
__device__ __forceinline__ double sum_parts(int parts, Term term) {
  double sum = 0;
  for (int part = threadIdx.x % 32; part < parts; part += 32) sum += term(part);
  return warp_sum(sum);
}

// Mean and squared differences from it of all rows of this rank.
struct Merged {
  double mean, squares;
  __device__ __forceinline__ Merged(const float* moments, int channel, int channels, int rows, int rows_per_part) {
    const int parts = (rows + rows_per_part - 1) / rows_per_part;
    const float *means = moments + channel, *about = means + channels;
    const long long apart = 2ll * channels;
    const double sum = sum_parts(parts, [&](int part) {
      return double(min(rows - part * rows_per_part, rows_per_part)) * means[part * apart];
    });
    mean = sum / max(1, rows);
    squares = sum_parts(parts, [&](int part) {
      const double off = means[part * apart] - mean;
      return about[part * apart] + min(rows - part * rows_per_part, rows_per_part) * off * off;
    });
  }
};

// The statistics of one channel; momentum 0 leaves the running statistics as they are.
struct Channel {
  const float *w, *b;
  float *running_mean, *running_var, *kept;
  float momentum, eps;
  // own: the mean of this rank, in float: the center of x.
  __device__ __forceinline__ void prepare(int channel, int channels, double count, float own, double mean,
                                          double var) const {
    const double r = 1 / sqrt(var + eps), offset = own - mean, scale = w[channel] * r;
    kept[channel] = own;
    kept[channels + channel] = float(r);
    kept[2 * channels + channel] = float(offset);
    kept[3 * channels + channel] = float(scale);
    kept[4 * channels + channel] = float(b[channel] + scale * offset);
    if (momentum == 0 || count == 0) return;
    const double unbiased = count > 1 ? var * (count / (count - 1)) : var * count;
    running_mean[channel] += momentum * float(mean - running_mean[channel]);
    running_var[channel] += momentum * float(unbiased - running_var[channel]);
  }
};

__device__ __forceinline__ int channel_of_warp() { return blockIdx.x * WARPS + threadIdx.x / 32; }
__device__ __forceinline__ bool is_first_lane() { return threadIdx.x % 32 == 0; }

extern "C" __global__ void __launch_bounds__(256)
batchnorm_statistics(const float* moments, const float* w, const float* b, float* running_mean, float* running_var,
                     float* kept, int rows, int channels, int rows_per_part, float momentum, float eps) {
  const int channel = channel_of_warp();
  if (channel >= channels) return;
  const Merged merged(moments, channel, channels, rows, rows_per_part);
  if (is_first_lane())
    Channel{w, b, running_mean, running_var, kept, momentum, eps}.prepare(
        channel, channels, rows, float(merged.mean), merged.mean, merged.squares / max(1, rows));
}

// total: count, the sums of x, the sums of x^2. kept: the means of this rank.
extern "C" __global__ void __launch_bounds__(256)
batchnorm_merge(const float* moments, double* total, float* kept, int rows, int channels, int rows_per_part) {
  const int channel = channel_of_warp();
  if (channel >= channels) return;
  const Merged merged(moments, channel, channels, rows, rows_per_part);
  if (!is_first_lane()) return;
  if (channel == 0) total[0] = rows;
  total[1 + channel] = rows * merged.mean;
  total[1 + channels + channel] = merged.squares + rows * merged.mean * merged.mean;
  kept[channel] = float(merged.mean);
}

extern "C" __global__ void __launch_bounds__(256)
batchnorm_prepare(const double* total, const float* w, const float* b, float* running_mean, float* running_var,
                  float* kept, int channels, float momentum, float eps) {
  const int channel = channel_of_warp();
  if (channel >= channels || !is_first_lane()) return;
  const double count = total[0], divisor = count > 1 ? count : 1, mean = total[1 + channel] / divisor;
  const double var = total[1 + channels + channel] / divisor - mean * mean;
  Channel{w, b, running_mean, running_var, kept, momentum, eps}.prepare(channel, channels, count, kept[channel], mean,
                                                                         var < 0 ? 0 : var);
}

// dx = a dy + b (x - mean) + c, from the gradients db and dw over all ranks.
__device__ __forceinline__ void write_slopes(float* slopes, const float* kept, const float* w, int channel,
                                             int channels, double count, double db, double dw) {
  const double r = kept[channels + channel], offset = kept[2 * channels + channel], a = w[channel] * r;
  const double b = -a * r * dw / count;
  slopes[channel] = float(a);
  slopes[channels + channel] = float(b);
  slopes[2 * channels + channel] = float(b * offset - a * db / count);
}

// db and dw of this rank, to where gradients are kept.
struct Gradients {
  double db, dw;
  __device__ __forceinline__ Gradients(const float* sums, const float* kept, int channel, int channels, int parts) {
    db = sum_parts(parts, [&](int part) { return sums[2ll * part * channels + channel]; });
    dw = sum_parts(parts, [&](int part) { return sums[(2ll * part + 1) * channels + channel]; });
    dw = kept[channels + channel] * (dw + kept[2 * channels + channel] * db);
  }
  __device__ __forceinline__ void write(float* to_dw, float* to_db, int channel, int adds_dw, int adds_db) const {
    to_dw[channel] = float(adds_dw ? to_dw[channel] + dw : dw);
    to_db[channel] = float(adds_db ? to_db[channel] + db : db);
  }
};

extern "C" __global__ void __launch_bounds__(256)
batchnorm_slopes_of_sums(const float* sums, const float* kept, const float* w, float* dw, float* db, float* slopes,
                         int rows, int channels, int parts, int adds_dw, int adds_db) {
  const int channel = channel_of_warp();
  if (channel >= channels) return;
  const Gradients gradients(sums, kept, channel, channels, parts);
  if (!is_first_lane()) return;
  gradients.write(dw, db, channel, adds_dw, adds_db);
  write_slopes(slopes, kept, w, channel, channels, max(1, rows), gradients.db, gradients.dw);
}

// total (2, channels) may be null.
extern "C" __global__ void __launch_bounds__(256)
batchnorm_gradients(const float* sums, const float* kept, float* dw, float* db, double* total, int channels, int parts,
                    int adds_dw, int adds_db) {
  const int channel = channel_of_warp();
  if (channel >= channels) return;
  const Gradients gradients(sums, kept, channel, channels, parts);
  if (!is_first_lane()) return;
  gradients.write(dw, db, channel, adds_dw, adds_db);
  if (!total) return;
  total[channel] = gradients.db;
  total[channels + channel] = gradients.dw;
}

extern "C" __global__ void __launch_bounds__(256)
batchnorm_slopes(const double* total, const float* kept, const float* w, float* slopes, int channels, double count) {
  const int channel = channel_of_warp();
  if (channel >= channels || !is_first_lane()) return;
  write_slopes(slopes, kept, w, channel, channels, count, total[channel], total[channels + channel]);
}

// Rows joined to periods of whole pieces: 1, 2, 4 or 8 rows, so that each piece of a thread begins at the same channel
// and what depends on channels alone stays in registers.
struct Periods {
  int pieces, num;
  long long elements;
  __device__ __forceinline__ Periods(int rows, int channels) : elements((long long)rows * channels) {
    static_assert(PIECE == 4 || PIECE == 8, "a power of two");
    int doublings = 0;
    while ((channels << doublings) % PIECE) doublings++;
    pieces = (channels << doublings) / PIECE;
    num = (rows + (1 << doublings) - 1) >> doublings;
  }
  // prepare(first channel of a piece) makes body(pieces that were read), which returns the results. read(element,
  // count, whole) and write(element, count, whole, results) are for the piece that begins at this element; with
  // `aligned` arrays whose pieces are all whole, two are read before the first is written.
  template <class Prepare, class Read, class Write>
  __device__ __forceinline__ void for_each_piece(int channels, bool aligned, Prepare prepare, Read read,
                                                 Write write) const {
    for_each_across(pieces, [&](int piece) {
      int channel = piece * PIECE;
      while (channel >= channels) channel -= channels;  // 7 times at most
      const auto body = prepare(channel);
      const auto first = [&](int period) { return ((long long)period * pieces + piece) * PIECE; };
      if (aligned && elements % PIECE == 0)
        for_each_down<2>(
            num, [&](int period) { return read(first(period), PIECE, true); },
            [&](int period, const decltype(read(0, 0, true))& pieces) {
              write(first(period), PIECE, true, body(pieces));
            });
      else
        for_each_down(num, [&](int period) {
          const long long at = first(period);
          const int count = elements - at < PIECE ? int(elements - at) : PIECE;
          write(at, count, false, body(read(at, count, false)));
        });
    });
  }
};

// The values that a vector (or several, one after the other) holds for a piece of elements, whose channels may turn
// over.
struct OfChannels {
  int channel, channels;
  bool aligned;
  __device__ __forceinline__ OfChannels(int channel, int channels, const float* vector)
      : channel(channel), channels(channels), aligned(channels % PIECE == 0 && piece_aligned(vector)) {}
  __device__ __forceinline__ Vec<float, PIECE> operator()(const float* vector) const {
    if (aligned) return load<PIECE>(vector + channel, PIECE, true);
    Vec<float, PIECE> v;
    int at = channel;
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      v.at[i] = vector[at];
      at = at + 1 == channels ? 0 : at + 1;
    }
    return v;
  }
};

// y = scale (x - mean) + shift, or its maximum with 0; prepare(channel) returns the vectors of a piece.
struct Affine {
  Vec<float, PIECE> mean, scale, shift;
};
template <class Prepare>
__device__ __forceinline__ void write_affine(const Element* x, Element* y, int rows, int channels, int relu,
                                             Prepare prepare) {
  Periods(rows, channels)
      .for_each_piece(
          channels, piece_aligned(x) && piece_aligned(y),
          [&](int channel) {
            return [relu, v = prepare(channel)](const Vec<Element, PIECE>& pixel) {
              Vec<float, PIECE> out;
#pragma unroll
              for (int j = 0; j < PIECE; j++) {
                const float value = normalized(to_float(pixel.at[j]), v.mean.at[j], v.scale.at[j], v.shift.at[j]);
                out.at[j] = relu ? relu_of(value) : value;
              }
              return Rounded<Element>::from(out);
            };
          },
          [&](long long i, int count, bool whole) { return load<PIECE>(x + i, count, whole); },
          [&](long long i, int count, bool whole, const Vec<Element, PIECE>& out) {
            store<PIECE>(y + i, out, count, whole);
          });
}

extern "C" __global__ void __launch_bounds__(256)
batchnorm_apply(const Element* x, const float* kept, Element* y, int rows, int channels, int relu) {
  write_affine(x, y, rows, channels, relu, [&](int channel) {
    const OfChannels of(channel, channels, kept);
    return Affine{of(kept), of(kept + 3 * channels), of(kept + 4 * channels)};
  });
}

extern "C" __global__ void __launch_bounds__(256)
batchnorm_evaluate(const Element* x, const float* w, const float* b, const float* mean, const float* var, Element* y,
                   int rows, int channels, float eps, int relu) {
  write_affine(x, y, rows, channels, relu, [&](int channel) {
    const auto of = [&](const float* vector) { return OfChannels(channel, channels, vector)(vector); };
    return Affine{of(mean), apply<float>([&](float w, float var) { return w / sqrtf(var + eps); }, of(w), of(var)),
                  of(b)};
  });
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

// Batch normalization in training: y = scale (x - mean) + shift, and its gradients; a ReLU may follow in the same pass
// Shapes: x, y, dy, dx (rows, channels) of Element, one row per pixel; moments, sums (parts, 2, channels) float; kept
//     (5, channels) float: mean, r, offset, scale, shift; slopes (3, channels) float: a, b, c; total (1 + 2 channels,)
//     and gradients (2, channels) double: the sums over ranks; w, b, dw, db, running (channels,) float
// Launch: moments, sums: grid (ceil(channels / 128), parts), block 256, parts = ceil(rows / rows_per_part);
//     statistics, merge, prepare, gradients, slopes: grid ceil(channels / 8), block 256: one warp per channel;
//     apply, dx, evaluate: across: pieces of 4 elements of a period, down: periods; see Periods
// Roofline: forward two reads and a write, backward five reads (with ReLU seven) and a write; memory-bound.
// Oracle: ops/batchnorm.py. Source: Ioffe and Szegedy 2015, arXiv 1502.03167; Welford 1962, Technometrics 4; Chan et al.
//     1979, "Updating formulae and a pairwise algorithm for computing sample variances".
//
// Mean and squared differences are kept together and merged, from threads to parts in float, from parts to channels in
// double: x is read once, and a large mean costs no precision. `offset` is the center of x, this rank's mean as a
// float, minus the mean of all ranks. With one rank, statistics does the work of merge and prepare, and slopes_of_sums
// that of gradients and slopes: three launches forward, three backward.
#include "common/activations.cuh"
#include "common/columns.cuh"
#include "common/reduce.cuh"

constexpr int WARPS = 8;  // of a block with a warp for each channel

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
  const bool aligned = rows_aligned<PIECE>(x, channels);
  const int count = channels - columns.first;
  Moments mine = {};
  for (int row = columns.row; row < columns.stop; row += columns.apart)
    mine.add(load<PIECE>(x + (long long)row * channels + columns.first, count, aligned));
  mine = fold(mine, columns, parts);
  if (int(threadIdx.x) >= columns.across) return;
  float* to = moments + 2ll * blockIdx.y * channels + columns.first;
  write_columns(to, mine.mean, count, false);
  write_columns(to + channels, mine.squares, count, false);
}

// For layer normalization (without y and mean): the sums of dy, and of dy x.
extern "C" __global__ void __launch_bounds__(256)
batchnorm_sums(const Element* dy, const Element* x, const Element* y, const float* mean, float* sums, int rows,
               int channels, int rows_per_part) {
  __shared__ Sums<2> parts[COLUMN_WARPS][32];
  const Columns columns(rows, channels, rows_per_part);
  const int count = channels - columns.first;
  const bool aligned = rows_aligned<PIECE>(dy, channels) && rows_aligned<PIECE>(x, channels) &&
                       rows_aligned<PIECE>(y, channels);
  Vec<float, PIECE> center = {};
  if (mean) center = load<PIECE>(mean + columns.first, count, false);
  Sums<2> sum = {};
  for (int row = columns.row; row < columns.stop; row += columns.apart) {
    const long long at = (long long)row * channels + columns.first;
    const auto slope = load<PIECE>(dy + at, count, aligned), pixel = load<PIECE>(x + at, count, aligned);
    auto seen = slope;
    if (y) seen = load<PIECE>(y + at, count, aligned);
#pragma unroll
    for (int i = 0; i < PIECE; i++) {
      const float value = y ? to_float(slope.at[i]) * relu_slope(to_float(seen.at[i])) : to_float(slope.at[i]);
      sum.at[0][i] += value;
      sum.at[1][i] += value * (to_float(pixel.at[i]) - center.at[i]);
    }
  }
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
                                                                         var > 0 ? var : 0);
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
    if (kept) dw = kept[channels + channel] * (dw + kept[2 * channels + channel] * db);
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

// kept null (layer normalization): dw is the second sum as it is. total (2, channels) may be null.
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

// Rows joined to periods of whole pieces: 1, 2 or 4 rows, so that each piece of a thread begins at the same channel and
// what depends on channels alone stays in registers.
struct Periods {
  int pieces, num;
  long long elements;
  __device__ __forceinline__ Periods(int rows, int channels) : elements((long long)rows * channels) {
    static_assert(PIECE == 4, "rows to a period");
    const int doublings = channels % 4 == 0 ? 0 : channels % 2 == 0 ? 1 : 2;
    pieces = channels >> (2 - doublings);
    num = (rows + (1 << doublings) - 1) >> doublings;
  }
  // prepare(first channel of a piece) makes body(first element, count).
  template <class Prepare>
  __device__ __forceinline__ void for_each_piece(int channels, Prepare prepare) const {
    for_each_across(pieces, [&](int piece) {
      int channel = piece * PIECE;
      while (channel >= channels) channel -= channels;  // 3 times at most
      const auto body = prepare(channel);
      for_each_down(num, [&](int period) {
        const long long first = ((long long)period * pieces + piece) * PIECE;
        body(first, elements - first < PIECE ? int(elements - first) : PIECE);
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

extern "C" __global__ void __launch_bounds__(256)
batchnorm_apply(const Element* x, const float* kept, Element* y, int rows, int channels, int relu) {
  const bool aligned = piece_aligned(x) && piece_aligned(y);
  Periods(rows, channels).for_each_piece(channels, [&](int channel) {
    const OfChannels of(channel, channels, kept);
    const auto mean = of(kept), scale = of(kept + 3 * channels), shift = of(kept + 4 * channels);
    return [=](long long i, int count) {
      const auto pixel = load<PIECE>(x + i, count, aligned);
      Vec<Element, PIECE> out;
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        const float value = scale.at[j] * (to_float(pixel.at[j]) - mean.at[j]) + shift.at[j];
        out.at[j] = Convert<Element>::from(relu ? relu_of(value) : value);
      }
      store<PIECE>(y + i, out, count, aligned);
    };
  });
}

extern "C" __global__ void __launch_bounds__(256)
batchnorm_evaluate(const Element* x, const float* w, const float* b, const float* mean, const float* var, Element* y,
                   int rows, int channels, float eps, int relu) {
  const bool aligned = piece_aligned(x) && piece_aligned(y);
  Periods(rows, channels).for_each_piece(channels, [&](int channel) {
    const auto of = [&](const float* vector) { return OfChannels(channel, channels, vector)(vector); };
    const auto bias = of(b), center = of(mean);
    const auto scale = apply<float>([&](float w, float var) { return w / sqrtf(var + eps); }, of(w), of(var));
    return [=](long long i, int count) {
      const auto pixel = load<PIECE>(x + i, count, aligned);
      Vec<Element, PIECE> out;
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        const float value = scale.at[j] * (to_float(pixel.at[j]) - center.at[j]) + bias.at[j];
        out.at[j] = Convert<Element>::from(relu ? relu_of(value) : value);
      }
      store<PIECE>(y + i, out, count, aligned);
    };
  });
}

// y null: no ReLU followed.
extern "C" __global__ void __launch_bounds__(256)
batchnorm_dx(const Element* dy, const Element* x, const Element* y, const float* kept, const float* slopes, Element* dx,
             int rows, int channels) {
  const bool aligned = piece_aligned(dy) && piece_aligned(x) && piece_aligned(y) && piece_aligned(dx);
  Periods(rows, channels).for_each_piece(channels, [&](int channel) {
    const OfChannels of_kept(channel, channels, kept), of(channel, channels, slopes);
    const auto mean = of_kept(kept), a = of(slopes), b = of(slopes + channels), c = of(slopes + 2 * channels);
    return [=](long long i, int count) {
      const auto slope = load<PIECE>(dy + i, count, aligned), pixel = load<PIECE>(x + i, count, aligned);
      auto seen = slope;
      if (y) seen = load<PIECE>(y + i, count, aligned);
      Vec<Element, PIECE> out;
#pragma unroll
      for (int j = 0; j < PIECE; j++) {
        const float value = to_float(slope.at[j]) * (y ? relu_slope(to_float(seen.at[j])) : 1);
        const float back = a.at[j] * value + b.at[j] * (to_float(pixel.at[j]) - mean.at[j]) + c.at[j];
        out.at[j] = Convert<Element>::from(back);
      }
      store<PIECE>(dx + i, out, count, aligned);
    };
  });
}

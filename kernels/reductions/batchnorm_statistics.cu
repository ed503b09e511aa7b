// Statistics of batch normalization: from moments and sums of parts to a few numbers for each channel
// Shapes: moments, sums (parts, 2, channels) float; kept (5, channels) float: mean, r, offset, scale, shift; slopes (3,
//     channels) float: a, b, c; total (1 + 2 channels,) and gradients (2, channels) double: the sums over ranks; w, b,
//     dw, db, running (channels,) float
// Launch: grid ceil(channels / 8), block 256: one warp per channel
// Roofline: a few microseconds, most of them the launch. Oracle: ops/batchnorm.py. Source: Ioffe and Szegedy 2015, arXiv 1502.03167.
// They have not run on a GPU.
//
// `offset` is the center of x, this rank's mean as a float, minus the mean of all ranks. With one rank, statistics does
// the work of merge and prepare, and slopes_of_sums that of gradients and slopes.
#include "common/reduce.cuh"

constexpr int WARPS = 8;  // of a block with a warp for each channel

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

// Columns of a convolution (im2col), and the way back: what makes it a matrix product
//     gather   columns[g][m][(kh KW + kw) CG + c] = x[pixel under tap (kh, kw) of output m, channel g CG + c], 0 outside
//     scatter  dx[pixel] = sum of dcolumns over all places that gather had copied the pixel to
// Shapes: x, dx (N, H, W, C); columns (G, N OH OW, KH KW CG), CG = C / G; fp32. See ops/conv2d_columns.py.
// Launch: one thread an element of what is written, 256 a block
// Roofline: 4 (columns + x) bytes; memory-bound, and far from a convolution that gathers into shared memory.
//     Oracle: ops/conv2d_columns.py. Source: Chellapilla et al. 2006, "High performance convolutional neural networks".
//
// scatter asks each pixel which outputs saw it, so that nothing is added twice and no atomics are needed.

struct Columns {
  int images, height, width, channels, groups;
  int out_height, out_width;
  int kernel_height, kernel_width, stride_height, stride_width;
  int pad_height, pad_width, dilation_height, dilation_width;
};
static_assert(sizeof(Columns) == 60, "the layout that launches are planned for");

extern "C" __global__ void __launch_bounds__(256) columns_gather(const float* x, float* columns, const Columns w) {
  const int per_group = w.channels / w.groups;
  const long long rows = (long long)w.images * w.out_height * w.out_width;
  const int depth = w.kernel_height * w.kernel_width * per_group;
  const long long i = blockIdx.x * 256ll + threadIdx.x;
  if (i >= rows * depth * w.groups) return;
  const int group = int(i / (rows * depth)), k = int(i % depth);
  const long long row = i / depth % rows;
  const int c = group * per_group + k % per_group, tap = k / per_group;
  const int column = int(row % w.out_width), line = int(row / w.out_width % w.out_height);
  const int image = int(row / w.out_width / w.out_height);
  const int h = line * w.stride_height - w.pad_height + tap / w.kernel_width * w.dilation_height;
  const int v = column * w.stride_width - w.pad_width + tap % w.kernel_width * w.dilation_width;
  const bool inside = h >= 0 && h < w.height && v >= 0 && v < w.width;
  columns[i] = inside ? x[(((long long)image * w.height + h) * w.width + v) * w.channels + c] : 0;
}

extern "C" __global__ void __launch_bounds__(256) columns_scatter(const float* columns, float* dx, const Columns w) {
  const long long i = blockIdx.x * 256ll + threadIdx.x;
  if (i >= (long long)w.images * w.height * w.width * w.channels) return;
  const int per_group = w.channels / w.groups;
  const long long rows = (long long)w.images * w.out_height * w.out_width;
  const int depth = w.kernel_height * w.kernel_width * per_group;
  const int c = int(i % w.channels), v = int(i / w.channels % w.width);
  const int h = int(i / w.channels / w.width % w.height), image = int(i / w.channels / w.width / w.height);
  const float* group = columns + c / per_group * rows * depth + c % per_group;
  float sum = 0;
  for (int kh = 0; kh < w.kernel_height; kh++) {
    const int down = h + w.pad_height - kh * w.dilation_height;
    if (down < 0 || down % w.stride_height || down / w.stride_height >= w.out_height) continue;
    for (int kw = 0; kw < w.kernel_width; kw++) {
      const int right = v + w.pad_width - kw * w.dilation_width;
      if (right < 0 || right % w.stride_width || right / w.stride_width >= w.out_width) continue;
      const long long row =
          ((long long)image * w.out_height + down / w.stride_height) * w.out_width + right / w.stride_width;
      sum += group[row * depth + (kh * w.kernel_width + kw) * per_group];
    }
  }
  dx[i] = sum;
}

// Batch normalisation: the passes over images that are not sums (those are column_sum and column_dot of reduce.cu)
// Shapes: x, out, dy, centered, dx (n elements, channels innermost) of Element; vectors (channels,) float
// Launch: block 256, any grid. Roofline: one read of each input, one write; memory-bound. Oracle: ops/batchnorm.py.
// Source: Ioffe and Szegedy 2015, arXiv 1502.03167.
#include "common/elements.cuh"

// f(channel, x...) for one element after the other. (A struct: NVRTC takes a lambda within a lambda for the host's.)
template <class F>
struct AlongChannels {
  F f;
  int channel, channels;
  template <class... X>
  __device__ __forceinline__ float operator()(X... x) {
    const float y = f(channel, x...);
    channel = channel + 1 == channels ? 0 : channel + 1;
    return y;
  }
};

template <class F, class... In>
__device__ __forceinline__ void map_channels(Element* out, long long n, int channels, F f, const In*... in) {
  const bool aligned = (piece_aligned(out) && ... && piece_aligned(in));
  for_each_piece(n, [&](long long i, int count) {
    const AlongChannels<F> along{f, int(i % channels), channels};
    store<PIECE>(out + i, apply<Element>(along, load<PIECE>(in + i, count, aligned)...), count, aligned);
  });
}

extern "C" __global__ void batchnorm_center(const Element* x, const float* mean, Element* out, long long n,
                                            int channels) {
  map_channels(out, n, channels, [&](int c, float x) { return x - mean[c]; }, x);
}

extern "C" __global__ void batchnorm_scale_shift(const Element* x, const float* scale, const float* shift, Element* out,
                                                 long long n, int channels) {
  map_channels(out, n, channels, [&](int c, float x) { return scale[c] * x + shift[c]; }, x);
}

extern "C" __global__ void batchnorm_dx(const Element* dy, const Element* centered, const float* a, const float* b,
                                        const float* c, Element* dx, long long n, int channels) {
  map_channels(
      dx, n, channels, [&](int i, float dy, float centered) { return a[i] * dy + b[i] * centered + c[i]; }, dy,
      centered);
}

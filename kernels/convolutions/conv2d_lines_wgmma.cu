// Convolution 3 x 3 of few channels on Hopper's tensor cores, sm_90a: y or dx, from lines that are fetched once
// Arch: sm_90a
// Shapes: see convolutions/convolution.cuh; 3 x 3, stride and dilation 1. x (dy for dx), w, out and C begin at
//     multiples of 16 bytes; channels and outputs are multiples of 8; x (dy for dx) has at most DEPTH channels.
// Types: bf16.
// Launch: image_map: x (dy for dx) with dims (C, W, H, N), boxes of 64 x (WIDTH + 2) x 1 x (64 / WIDTH); weight_map: w as
//     matrices (C, O), one a tap, boxes of 64 x DEPTH, for dx of 64 x TILE_N; out_map: out with the dims of image_map,
//     boxes of 64 x min(16, WIDTH) x 1 x (16 / that); c_map: C in the same boxes, read where beta is not 0; the record;
//     grid: as many blocks for each TILE_N columns as run at once; 384 per block; SHARED_BYTES of dynamic shared memory,
//     one block per SM. TILE_N is 64, or at least N. COLUMN_MOMENTS: a slab is what one consumer writes.
// Roofline: 2 N OH OW 9 C O operations for 2 (N H W C + N OH OW O) bytes: with 64 channels both take as long. Of 64
//     places across, OW are of use. Shared memory is busy for 84 % of the tensor cores' time (64 channels).
// Oracle: ops/conv2d.py. Source: PTX ISA, "wgmma.mma_async", "ldmatrix"; see conv2d_wgmma.cu. It has not run on a GPU.
//
// conv2d_wgmma.cu fetches a pixel for each tap, which with 64 channels takes longer than its products. Here the filters
// of TILE_N outputs stay in shared memory, and each consumer goes down its lines (convolutions/lines.cuh), which the copy
// engine brings once, with a pixel more on both sides. A line is a factor of three lines of out: their sums are in
// registers, all three. A of wgmma comes from registers too: ldmatrix takes the pixels of a tap wherever they lie, and
// what it loads for one of the three columns of taps serves its three rows.
//
// Groups of 64 or 128 channels are tiles of their own. Narrower ones share a tile of 64 by 64, whose filters are zeros
// but for a block of each group: more products than are needed, in the time that the memory takes anyway.
#define INPUT_BF16 1
#define OUTPUT_BF16 1
#include "common/ptx/ldmatrix.cuh"
#include "common/ptx/tensor_copy.cuh"
#include "convolutions/convolution.cuh"
#include "convolutions/line_writer.cuh"
#include "convolutions/lines.cuh"
#include "products/ring.cuh"
#include "products/types.cuh"

#ifndef TILE_N
#define TILE_N 64
#endif
#ifndef DEPTH
#define DEPTH 64
#define STAGES 6
#endif
#ifndef WIDTH
#define WIDTH 64
#endif
#ifndef GROUP_CHANNELS  // 0: one group; else the channels of each, of x and of y
#define GROUP_CHANNELS 0
#endif
#define TILE_M 128
#define THREADS 384

constexpr bool B_K = CONVOLUTION == CONVOLUTION_DX;  // outputs are k, and contiguous in w
constexpr bool SEVERAL = GROUP_CHANNELS && GROUP_CHANNELS < 64;               // groups in a tile
constexpr int TAPS = 3, CONSUMERS = 2, GROUPS = TILE_N / 8;
constexpr int BOX = ROW_BYTES / sizeof(Input), BOXES = (DEPTH + BOX - 1) / BOX, STEP = STEP_BYTES / sizeof(Input);
constexpr int STEPS = BOX / STEP;            // of a whole box
constexpr int SPAN = WIDTH + TAPS - 1;       // pixels of an image in a line
constexpr int BOX_BYTES = 64 / WIDTH * SPAN * ROW_BYTES, LINE_BYTES = (BOX_BYTES + 1023) / 1024 * 1024;
constexpr int TAP_BYTES = (B_K ? BOXES * TILE_N : DEPTH) * ROW_BYTES, WEIGHT_BYTES = TAPS * TAPS * TAP_BYTES;
constexpr int RING_BYTES = (STAGES * (LINE_BYTES + 16) + 1023) / 1024 * 1024;
#define SHARED_BYTES (WEIGHT_BYTES + CONSUMERS * (RING_BYTES + 4 * (16 * 128 + 8)) + 4 * TILE_N + 8 + 1024)

static_assert(CONVOLUTION == CONVOLUTION_FORWARD || CONVOLUTION == CONVOLUTION_DX, "dw has another kernel");
static_assert(TILE_N == 16 || TILE_N == 32 || TILE_N == 64, "pairs of groups, in one chunk");
static_assert(DEPTH % STEP == 0 && DEPTH <= 2 * BOX, "whole steps of wgmma, one or two boxes");
static_assert(WIDTH == 8 || WIDTH == 16 || WIDTH == 32 || WIDTH == 64, "a warp's rows are of one line, or of two");
static_assert(!GROUP_CHANNELS || (TILE_N == 64 && DEPTH == (GROUP_CHANNELS == 128 ? 128 : 64)), "64 columns of out");
static_assert(!GROUP_CHANNELS || DEPTH % GROUP_CHANNELS == 0, "whole groups");
static_assert(STAGES >= 2, "a line arrives while another is read");
static_assert(THREADS == (1 + CONSUMERS) * WARPGROUP, "a producer and the consumers");
static_assert(SHARED_BYTES <= 227 * 1024, "a block has at most 227 KB of shared memory");

using Conv = Convolution<Input, Output>;
using LineRing = Ring<STAGES, LINE_BYTES, 0, 1>;
using Work = Lines<TAPS, WIDTH>;
using Writer = LineWriter<GROUPS, WIDTH>;
static_assert(Writer::BYTES == 4 * 16 * 128, "as in SHARED_BYTES");

// Which columns of out a block computes, from which channels on; which of the consumers of these columns its own are.
struct Part {
  int col, channel, first, consumers;
  __device__ __forceinline__ explicit Part(const Conv& conv) {
    const int tiles = (channels_of_out(conv) + TILE_N - 1) / TILE_N;
    col = blockIdx.x % tiles * TILE_N;
    channel = GROUP_CHANNELS ? col / DEPTH * DEPTH : 0;
    first = blockIdx.x / tiles * CONSUMERS;
    consumers = gridDim.x / tiles * CONSUMERS;
  }
};

// Shared memory: the filters, buffers of results, a ring of lines for each consumer, the bias; barriers of the filters
// and of the buffers.
struct Shared {
  unsigned char* first;
  __device__ __forceinline__ explicit Shared(unsigned char* memory) : first(align_to_swizzle(memory)) {}
  __device__ __forceinline__ unsigned char* weights() const { return first; }
  __device__ __forceinline__ unsigned char* buffers(int consumer) const {
    return first + WEIGHT_BYTES + consumer * Writer::BYTES;
  }
  __device__ __forceinline__ LineRing ring(int consumer) const {
    return LineRing(buffers(CONSUMERS) + consumer * RING_BYTES);
  }
  __device__ __forceinline__ float* bias() const {
    return reinterpret_cast<float*>(buffers(CONSUMERS) + CONSUMERS * RING_BYTES);
  }
  __device__ __forceinline__ Barrier* weights_there() const { return reinterpret_cast<Barrier*>(bias() + TILE_N); }
  __device__ __forceinline__ Barrier* loaded(int consumer) const { return weights_there() + 1 + 4 * consumer; }
  __device__ __forceinline__ void init() const {
    barrier_init(weights_there(), 1);
    for (int i = 0; i < CONSUMERS; i++) {
      Writer::init(loaded(i));
      ring(i).init(4);  // its fence is for all
    }
  }
};

// The filters, in the order in which their taps lie in the images.
__device__ __forceinline__ void copy_weights(const Shared& shared, const TensorMap& map, const Conv& conv,
                                             const Part& part) {
  const int row_of_w = GROUP_CHANNELS ? part.col % DEPTH : part.col;  // of dx, whose columns are rows of w: those of a group
  const Axis &rows = conv.axes[0][0], &cols = conv.axes[1][0];
  barrier_expect(shared.weights_there(), WEIGHT_BYTES);
  for (int row = 0; row < TAPS; row++)
    for (int i = 0; i < TAPS; i++) {
      const int tap = (rows.first_tap + row * rows.tap_step) * TAPS + cols.first_tap + i * cols.tap_step;
      unsigned char* to = shared.weights() + (row * TAPS + i) * TAP_BYTES;
      if (B_K) {
#pragma unroll
        for (int box = 0; box < BOXES; box++)
          tensor_copy(to + box * TILE_N * ROW_BYTES, &map, part.channel + box * BOX, row_of_w, tap, shared.weights_there());
      } else {
        tensor_copy(to, &map, part.col, 0, tap, shared.weights_there());
      }
    }
}

// The same where a tile has several groups, by all threads: a block of w for each on the diagonal, zeros beside them.
__device__ __forceinline__ void write_weights(const Shared& shared, const Conv& conv, int col) {
  constexpr int SIDE = GROUP_CHANNELS && GROUP_CHANNELS < 64 ? GROUP_CHANNELS : 64;
  const Axis &rows = conv.axes[0][0], &cols = conv.axes[1][0];
  for (int i = threadIdx.x; i < WEIGHT_BYTES / 2; i += THREADS) {
    const int at = i / (64 * 64), row = i / 64 % 64, column = i % 64, down = at / TAPS, across = at % TAPS;
    const int tap = (rows.first_tap + down * rows.tap_step) * TAPS + cols.first_tap + across * cols.tap_step;
    bf16 x = {0};
    if (row / SIDE == column / SIDE) x = conv.gemm.b[(tap * SIDE + row % SIDE) * conv.gemm.b_ld + col + column];
    unsigned char* line = shared.weights() + at * TAP_BYTES + row * ROW_BYTES;
    *reinterpret_cast<bf16*>(line + (2 * column ^ row % 8 * 16)) = x;
  }
  fence_async();
}

__device__ __forceinline__ void produce(const Shared& shared, const TensorMap& image_map, const Conv& conv,
                                        const Part& part, int consumer) {
  const Work work(conv, part.consumers);
  const LineRing ring = shared.ring(consumer);
  const int down = conv.axes[0][0].first, across = conv.axes[1][0].first;
  LinePlace line = work.first(part.first + consumer);
  Place<STAGES> at;
  for (int left = work.count(part.first + consumer); left > 0; left--, work.advance(line))
#pragma unroll
    for (int box = 0; box < BOXES; box++, at.advance()) {
      Barrier* full = &ring.full[at.stage];
      barrier_wait(&ring.empty[at.stage], at.phase ^ 1);
      barrier_expect(full, BOX_BYTES);
      tensor_copy(ring.a(at.stage), &image_map, part.channel + box * BOX, line.strip * WIDTH + across, line.line + down,
                  line.group * Work::IMAGES, full);
    }
}

// The products of lines, with sums that three lines add to: those of PHASE begin with this line, those of the next are
// complete with it.
class Products {
 public:
  float sums[TAPS][GROUPS][4] = {};

  __device__ __forceinline__ Products(const Shared& shared, int consumer)
      : ring(shared.ring(consumer)), weights(wgmma_factor<B_K>(shared.weights(), 0)) {
    const int lane = threadIdx.x % 32, slot = threadIdx.x / 32 % 4 * 16 + lane % 16;
#pragma unroll
    for (int i = 0; i < TAPS; i++) {
      const int pixel = slot / WIDTH * SPAN + slot % WIDTH + i;
      piece[i] = pixel * ROW_BYTES + 16 * (lane / 16 ^ pixel % 8);
    }
  }

  // Afterwards sums[(PHASE + 1) % TAPS] are complete; products with the others may be under way.
  template <int PHASE>
  __device__ __forceinline__ void add_line() {
    const auto factor = wgmma_factor_of_warp(weights);
#pragma unroll
    for (int box = 0; box < BOXES; box++) {
      barrier_wait(&ring.full[at.stage], at.phase);
      const unsigned char* line = ring.a(at.stage);
#pragma unroll
      for (int tap = 0; tap < TAPS; tap++) {
        const int group = box * TAPS + tap;
        auto& a = fragments[group % SETS];
        wgmma_wait<1>();
        if (group > 0) keep_sums(fragments[(group - 2 + SETS) % SETS]);  // the group before the last has read them
        keep(piece[tap]);  // not its sums with all of i, which would take twelve registers
#pragma unroll
        for (int i = 0; i < STEPS; i++)
          if (is_step(box, i)) ldmatrix_x4(a[i], line + (piece[tap] ^ i * STEP_BYTES));
        keep_sums(a);
        if (group == 0)
          forget_sums(sums[PHASE]);
        else
          keep_sums(sums[PHASE]);
        keep_sums(sums[(PHASE + 1) % TAPS]);
        wgmma_fence(sums[(PHASE + 2) % TAPS]);
#pragma unroll
        for (int row = TAPS - 1; row >= 0; row--) {
          add_tap(sums[(PHASE + TAPS - row) % TAPS], a, factor, box, row, tap);
          if (group == BOXES * TAPS - 1 && row == TAPS - 1) wgmma_commit();
        }
        wgmma_commit();
      }
      __syncwarp();
      ring.release(at.stage);  // it is in registers
      at.advance();
    }
    wgmma_wait<1>();
    keep_sums(fragments[(BOXES * TAPS - 2) % SETS]);
    keep_sums(sums[(PHASE + 1) % TAPS]);
  }
  __device__ __forceinline__ void end() { wgmma_wait(sums); }

 private:
  const LineRing ring;
  const unsigned long long weights;
  Place<STAGES> at;
  int piece[TAPS];  // of a line: the 16 bytes that this lane passes to ldmatrix, for each column of taps
  static constexpr int SETS = BOXES % 2 ? TAPS : 2;  // so that each group of a line has the same set in all lines
  unsigned fragments[SETS][STEPS][4] = {};

  static __device__ __forceinline__ constexpr bool is_step(int box, int i) { return box * BOX + i * STEP < DEPTH; }
  static __device__ __forceinline__ void add_tap(float (&to)[GROUPS][4], const unsigned (&a)[STEPS][4],
                                                 unsigned long long factor, int box, int row, int tap) {
    const int first = (row * TAPS + tap) * TAP_BYTES + box * (B_K ? TILE_N : BOX) * ROW_BYTES;
#pragma unroll
    for (int i = 0; i < STEPS; i++)
      if (is_step(box, i))
        wgmma<B_K>(to, a[i], wgmma_advance(factor, first + i * (B_K ? STEP_BYTES : STEP * ROW_BYTES)),
                   box > 0 || row > 0 || tap > 0 || i > 0);
  }
};

// Line after line; the three phases are those of the three sums.
class Consumer {
 public:
  __device__ __forceinline__ Consumer(const Shared& shared, const TensorMap& out_map, const TensorMap& c_map,
                                      const Conv& conv, const Part& part, int consumer)
      : out_map(out_map),
        c_map(c_map),
        conv(conv),
        work(conv, part.consumers),
        products(shared, consumer),
        writer(shared.buffers(consumer), shared.loaded(consumer), shared.bias(), part.col),
        line(work.first(part.first + consumer)),
        left(work.count(part.first + consumer)) {}

  __device__ __forceinline__ void consume(int number, int consumer) {
    const bool any = left > 0;
    while (left > 0 && take<0>() && take<1>()) take<2>();
    products.end();
    writer.end(conv, number, consumer, any);
  }

 private:
  const TensorMap &out_map, &c_map;
  const Conv& conv;
  const Work work;
  Products products;
  Writer writer;
  LinePlace line;
  int left, ahead = TAPS - 1;  // lines to read; and before the first line of out is complete

  template <int PHASE>
  __device__ __forceinline__ bool take() {
    const bool writes = ahead == 0 && line.line < work.outputs;
    if (writes) writer.begin(conv, c_map, line);
    products.add_line<PHASE>();
    if (writes) writer.write(conv, out_map, line, products.sums[(PHASE + 1) % TAPS]);
    if (ahead > 0)
      ahead--;
    else
      work.advance(line);
    return --left > 0;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1)
conv2d_lines_wgmma(const __grid_constant__ TensorMap image_map, const __grid_constant__ TensorMap weight_map,
                   const __grid_constant__ TensorMap out_map, const __grid_constant__ TensorMap c_map,
                   const __grid_constant__ Conv conv) {
  DYNAMIC_SHARED(memory);
  const Shared shared(memory);
  const Part part(conv);
  const int col = part.col + threadIdx.x;
  if (threadIdx.x < TILE_N) shared.bias()[threadIdx.x] = conv.gemm.bias && col < channels_of_out(conv) ? conv.gemm.bias[col] : 0;
  if (SEVERAL) write_weights(shared, conv, part.col);
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&image_map);
    prefetch_tensor_map(&weight_map);
  }
  run_roles<1>(
      [&] { shared.init(); },
      [&] {
        if (!SEVERAL && threadIdx.x == 0) copy_weights(shared, weight_map, conv, part);
        const int warp = threadIdx.x / 32;
        if (warp < CONSUMERS && threadIdx.x % 32 == 0) produce(shared, image_map, conv, part, warp);
      },
      [&] {
        const int consumer = warpgroup() - 1;
        if (!SEVERAL) barrier_wait(shared.weights_there(), 0);
        Consumer(shared, out_map, c_map, conv, part, consumer).consume(part.first + consumer, consumer);
      });
}

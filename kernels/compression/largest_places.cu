// Places of the k largest |u|, in ascending order; equal ones are taken from the front, NaN before all numbers
// Shapes: u (n,) float, n < 2^31; bins (2048,) and state (2,) unsigned, bins 0 at first; counts (grid, 2) unsigned;
//     places (k,) int64
// Launch: block 256. largest_digits and largest_choose in turn, for each digit of the bits from the top: digits any grid,
//     choose 1 block. Then largest_count and largest_write, both with one grid of at most 1024 blocks, each with `each`
//     elements, a multiple of 1024
// Roofline: five reads of u, 20 bytes an element; memory-bound. Oracle: ops/compress.py (largest_places).
// Source: Alabi et al. 2012, "Fast k-selection algorithms for graphics processing units" (radix select).
//
// The bits of |u| are ordered as the numbers are. A histogram of a digit, over the numbers that have the digits found
// before, tells the digit of the k-th largest; three of them tell all its bits. Counts are integers, so the order of atomic
// additions does not matter. Then blocks count what they choose, and each writes behind the blocks before it.
#include "common/elements.cuh"
#include "compression/scan.cuh"

#define BIN_BITS 11
#define COPIES 4  // histograms of a block in turn: gradients crowd into few bins
constexpr int BINS = 1 << BIN_BITS, THREADS = SCAN_THREADS, TILE = THREADS * PIECE;
static_assert(sizeof(unsigned) * BINS * COPIES <= 48 * 1024 - 256, "static shared memory");
static_assert(BINS % THREADS == 0, "threads have equally many bins");
static_assert(TILE < 1 << 16, "two counts of a tile share a word");

struct State {
  unsigned prefix;  // the digits found so far
  unsigned wanted;  // so many of the numbers with this prefix
};

__device__ __forceinline__ unsigned magnitude_of(float x) { return float_bits(x) & 0x7FFFFFFF; }

// Count the digits of `bits` bits above `shift` of all numbers whose bits above them are state.prefix.
extern "C" __global__ void __launch_bounds__(256)
largest_digits(const float* u, const State* state, unsigned* bins, int n, int shift, int bits) {
  __shared__ unsigned counts[COPIES][BINS];
  for (int i = threadIdx.x; i < COPIES * BINS; i += THREADS) counts[i / BINS][i % BINS] = 0;
  __syncthreads();
  const bool aligned = piece_aligned(u), first = shift + bits == 31;
  const unsigned prefix = first ? 0 : state->prefix, mask = (1u << bits) - 1;
  for_each_piece(n, [&](long long i, int count) {
    const auto value = load<PIECE>(u + i, count, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      const unsigned magnitude = magnitude_of(value.at[j]);
      if (j < count && magnitude >> (shift + bits) == prefix)
        atomicAdd(&counts[threadIdx.x % COPIES][magnitude >> shift & mask], 1u);
    }
  });
  __syncthreads();
  for (int i = threadIdx.x; i < BINS; i += THREADS) {
    unsigned sum = 0;
#pragma unroll
    for (int copy = 0; copy < COPIES; copy++) sum += counts[copy][i];
    if (sum > 0) atomicAdd(&bins[i], sum);
  }
}

// Find the digit of the k-th largest from the top, and clear the bins; k > 0 at the first digit, then 0.
extern "C" __global__ void __launch_bounds__(256) largest_choose(State* state, unsigned* bins, int bits, int k) {
  __shared__ unsigned parts[SCAN_WARPS];
  constexpr int OWN = BINS / THREADS;
  const unsigned wanted = k > 0 ? unsigned(k) : state->wanted, prefix = k > 0 ? 0 : state->prefix;
  const int top = (1 << bits) - 1 - int(threadIdx.x) * OWN;  // this thread's first bin
  unsigned counts[OWN], sum = 0;
#pragma unroll
  for (int i = 0; i < OWN; i++) sum += counts[i] = top - i >= 0 ? bins[top - i] : 0;
  unsigned above = block_scan(sum, parts).before;
  __syncthreads();  // all have read the state
  if (above < wanted && wanted <= above + sum) {
    int bin = top;
#pragma unroll
    for (int i = 0; i < OWN - 1; i++)
      if (bin == top - i && above + counts[i] < wanted) {
        above += counts[i];
        bin--;
      }
    *state = {prefix << bits | unsigned(bin), wanted - above};
  }
  for (int i = threadIdx.x; i < BINS; i += THREADS) bins[i] = 0;
}

// Count the numbers above the k-th largest, and those equal to it, of each block's elements.
extern "C" __global__ void __launch_bounds__(256)
largest_count(const float* u, const State* state, unsigned* counts, int n, int each) {
  __shared__ unsigned parts[2][SCAN_WARPS];
  const long long begin = (long long)blockIdx.x * each, end = min((long long)n, begin + each);
  const bool aligned = piece_aligned(u);
  const unsigned least = state->prefix;
  unsigned above = 0, equal = 0;
  for (long long i = begin + threadIdx.x * PIECE; i < end; i += TILE) {
    const int count = end - i < PIECE ? int(end - i) : PIECE;
    const auto value = load<PIECE>(u + i, count, aligned);
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      const unsigned magnitude = magnitude_of(value.at[j]);
      above += j < count && magnitude > least;
      equal += j < count && magnitude == least;
    }
  }
  above = block_scan(above, parts[0]).total;
  equal = block_scan(equal, parts[1]).total;
  if (threadIdx.x > 0) return;
  counts[2 * blockIdx.x] = above;
  counts[2 * blockIdx.x + 1] = equal;
}

extern "C" __global__ void __launch_bounds__(256)
largest_write(const float* u, const State* state, const unsigned* counts, long long* places, int n, int each) {
  __shared__ unsigned parts[3][SCAN_WARPS];
  const long long begin = (long long)blockIdx.x * each, end = min((long long)n, begin + each);
  const bool aligned = piece_aligned(u);
  const unsigned least = state->prefix, wanted = state->wanted;
  unsigned above = 0, equal = 0;  // before this block, then before this tile
  for (unsigned i = threadIdx.x; i < blockIdx.x; i += THREADS) {
    above += counts[2 * i];
    equal += counts[2 * i + 1];
  }
  above = block_scan(above, parts[0]).total;
  equal = block_scan(equal, parts[1]).total;
  for (long long tile = begin; tile < end; tile += TILE) {
    const long long i = tile + threadIdx.x * PIECE;
    const int count = end - i < PIECE ? int(end - i) : PIECE;
    const auto value = load<PIECE>(u + i, count, aligned);
    unsigned both = 0;
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      const unsigned magnitude = magnitude_of(value.at[j]);
      if (j < count) both += (magnitude > least) | unsigned(magnitude == least) << 16;
    }
    const Scanned scanned = block_scan(both, parts[2]);
    unsigned more = above + (scanned.before & 0xFFFF), same = equal + (scanned.before >> 16);
#pragma unroll
    for (int j = 0; j < PIECE; j++) {
      const unsigned magnitude = magnitude_of(value.at[j]);
      if (j >= count || magnitude < least) continue;
      if (magnitude > least)
        places[more++ + min(same, wanted)] = i + j;
      else if (same++ < wanted)
        places[more + same - 1] = i + j;
    }
    above += scanned.total & 0xFFFF;
    equal += scanned.total >> 16;
    __syncthreads();  // before the parts are written again
  }
}

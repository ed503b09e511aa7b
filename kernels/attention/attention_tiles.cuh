// Attention by mma.sync: tiles of tokens in shared memory, and how they are brought there.
// A tile has a token in each row, HEAD numbers of Element (D of them, and zeros). Rows are PITCH bytes apart, an odd
// number of 16 bytes for every HEAD: so eight rows that ldmatrix reads at one place lie in different banks, as after a
// swizzle, but at constant offsets, for heads of any size (of 80 numbers, 10 chunks of bf16, a swizzle by 8 would not
// be one). So do the four rows, two chunks wide, of tf32 fragments that are read number by number.
#pragma once
#include "attention/attention.cuh"
#include "common/elements.cuh"
#include "common/ptx/async_copy.cuh"

#ifndef HEAD
#define HEAD 64  // D, rounded up
#endif

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr int CHUNK = 16 / sizeof(Element);       // numbers in one cp.async, and in one row of ldmatrix
constexpr int STEP = 2 * CHUNK;                   // k of one mma
constexpr int STEPS = HEAD / STEP;                // over the numbers of a head
constexpr int GROUPS = HEAD / 8;                  // of 8 columns, which one mma writes
constexpr int ROW_CHUNKS = HEAD / CHUNK;
constexpr int PITCH = (ROW_CHUNKS + 1) * 16;      // bytes
static_assert(HEAD % 16 == 0, "fragments are read 16 columns at a time");
static_assert(ROW_CHUNKS % 2 == 0, "rows are an odd number of chunks apart");
static_assert(ROW_CHUNKS % (STEP / CHUNK) == 0, "steps of mma cover a head");

// Tokens of one head in memory.
struct Tokens {
  const Element* at;
  int apart;  // elements from token to token
  int count, size;
};

// The sample, head and tile of a block: the tiles of a head follow each other, then the heads of a sample.
struct BlockPlace {
  int sample, head, tile, tiles, rows;
  __device__ __forceinline__ BlockPlace(int count, int rows, int heads) : tiles((count + rows - 1) / rows), rows(rows) {
    const int matrix = blockIdx.x / tiles;
    tile = blockIdx.x - matrix * tiles;
    sample = matrix / heads, head = matrix - sample * heads;
  }
  // The first row of the tile, and that of the tile if they are counted from the end.
  __device__ __forceinline__ int first() const { return tile * rows; }
  __device__ __forceinline__ int last_first() const { return (tiles - 1 - tile) * rows; }
};

// Tiles of tokens, from `first` up to `past`.
struct Tiles {
  int first, past;
};

// Those of `rows` tokens that cover an interval. With `shift`, each begins where (token + shift) is a multiple of
// `rows`.
__device__ __forceinline__ Tiles tiles_of(const Interval& of, int rows, int shift) {
  const int first = (of.begin + shift) / rows * rows - shift;
  return {first, of.end > of.begin ? first + (of.end - first + rows - 1) / rows * rows : first};
}

// The tokens of one head of an array.
__device__ __forceinline__ Tokens tokens_of(const Attention<Element>& attention, const Element* array,
                                            const Apart& apart, int sample, int head, int count) {
  return {head_of(array, apart, sample, head), int(apart.token), count, attention.size};
}

// Copies tiles of ROWS tokens. A few lanes take a row, each every LANES-th chunk of it. In tf32 what has arrived must
// be rounded before the barrier that lets others read it.
template <int ROWS>
class TileLoader {
 public:
  // heads_apart: between heads that `fetch` goes `further` to
  __device__ __forceinline__ explicit TileLoader(const Tokens& tokens, long long heads_apart = 0)
      : tokens_(tokens), aligned_(rows_aligned<CHUNK>(tokens.at, tokens.apart) && heads_apart % CHUNK == 0) {}

  // The tile from token `first` on, of the head `further` elements on. Tokens outside repeat the first or the last one:
  // nobody looks at what comes of them.
  __device__ __forceinline__ void fetch(unsigned char* tile, int first, long long further = 0) const {
    const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
    if (THREADS / LANES > ROWS && row >= ROWS) return;
    unsigned char* const to = tile + row * PITCH + lane * 16;
    if (aligned_ && first >= 0 && first + ROWS <= tokens_.count) {
      const Element* from = tokens_.at + further + (long long)(first + row) * tokens_.apart + lane * CHUNK;
#pragma unroll
      for (int i = 0; i < PASSES; i++, from += (long long)ROWS_AT_ONCE * tokens_.apart)
#pragma unroll
        for (int j = 0; j < CHUNKS; j++)
          copy16_async(to + i * ROWS_AT_ONCE * PITCH + j * LANES * 16, from + j * LANES * CHUNK,
                       inside(j) * int(sizeof(Element)));
      return;
    }
#pragma unroll 1  // it is rare, so small code is all it needs
    for (int i = 0; i < PASSES * CHUNKS; i++) {
      const int pass = i / CHUNKS, j = i % CHUNKS, token = first + row + pass * ROWS_AT_ONCE;
      const Element* from = tokens_.at + further + (long long)min(max(token, 0), tokens_.count - 1) * tokens_.apart;
      unsigned char* const at = to + pass * ROWS_AT_ONCE * PITCH + j * LANES * 16;
      from += inside(j) ? (lane + j * LANES) * CHUNK : 0;
      if (aligned_)
        copy16_async(at, from, inside(j) * int(sizeof(Element)));
      else
        store<CHUNK>(reinterpret_cast<Element*>(at), load<CHUNK>(from, inside(j), false), CHUNK, true);
    }
  }

  // Round what this thread has copied to a tile to tf32, when it has arrived: each number once, where it is read often.
  __device__ __forceinline__ void round(unsigned char* tile) const {
    if constexpr (sizeof(Element) == 4) {
      const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
      if (THREADS / LANES > ROWS && row >= ROWS) return;
#pragma unroll
      for (int i = 0; i < PASSES * CHUNKS; i++) {
        const int pass = i / CHUNKS, j = i % CHUNKS;
        auto* const at = reinterpret_cast<Vec<unsigned, 4>*>(tile + (row + pass * ROWS_AT_ONCE) * PITCH +
                                                             (lane + j * LANES) * 16);
        Vec<unsigned, 4> chunk = *at;
#pragma unroll
        for (int e = 0; e < 4; e++) chunk.at[e] = to_tf32(chunk.at[e]);
        *at = chunk;
      }
    }
  }

 private:
  static constexpr int LANES = ROW_CHUNKS % 8 == 0 ? 8 : ROW_CHUNKS % 4 == 0 ? 4 : 2;
  static constexpr int CHUNKS = ROW_CHUNKS / LANES;  // of a thread in a row
  static constexpr int ROWS_AT_ONCE = THREADS / LANES < ROWS ? THREADS / LANES : ROWS;
  static constexpr int PASSES = ROWS / ROWS_AT_ONCE;
  static_assert(ROWS % ROWS_AT_ONCE == 0, "threads share the copies evenly");

  const Tokens tokens_;
  const bool aligned_;

  // Numbers of the head in chunk j of this thread.
  __device__ __forceinline__ int inside(int j) const {
    return max(0, min(CHUNK, tokens_.size - int(threadIdx.x % LANES + j * LANES) * CHUNK));
  }
};

// Tiles of ROWS keys and of their values, DEPTH of them in shared memory: one is read while others are on their way.
template <int ROWS, int DEPTH>
class KeyTiles {
 public:
  static constexpr int VALUES = ROWS * PITCH;  // bytes from a tile of keys to that of their values

  __device__ __forceinline__ KeyTiles(unsigned char* stages, const Tokens& keys, const Tokens& values,
                                      const Tiles& tiles)
      : keys_(keys), values_(values), stages_(stages), first_(tiles.first), count_((tiles.past - tiles.first) / ROWS) {}
  __device__ __forceinline__ int count() const { return count_; }
  __device__ __forceinline__ int first_key(int tile) const { return first_ + tile * ROWS; }

  // Requests the first tiles, and waits for what this thread had requested before.
  __device__ __forceinline__ void begin() const {
#pragma unroll 1
    for (int tile = 0; tile < DEPTH - 1; tile++) fetch(tile);
    copy_wait<DEPTH - 2>();
  }

  // All threads call it: a tile has arrived, and another one is requested.
  __device__ __forceinline__ unsigned char* arrive(int tile) const {
    unsigned char* const stage = at(tile);
    copy_wait<DEPTH - 2>();   // this thread's part of `tile` has arrived,
    keys_.round(stage);
    values_.round(stage + VALUES);
    __syncthreads();          // and that of all threads, which are done with tile - 1,
    fetch(tile + DEPTH - 1);  // so its stage is free
    return stage;
  }

 private:
  const TileLoader<ROWS> keys_, values_;
  unsigned char* const stages_;
  const int first_, count_;

  __device__ __forceinline__ unsigned char* at(int tile) const { return stages_ + tile % DEPTH * (2 * VALUES); }
  __device__ __forceinline__ void fetch(int tile) const {
    if (tile < count_) {
      keys_.fetch(at(tile), first_key(tile));
      values_.fetch(at(tile) + VALUES, first_key(tile));
    }
    copy_commit();
  }
};

// The epilogue of products on Hopper (see epilogue.cuh for its steps), by way of shared memory. A warp has 16 rows of
// sums, or more that are 64 apart. Chunk by chunk (chunks.cuh), what is to be written goes to a buffer, from which the
// copy engine writes it to out (and to pre), while the warp continues with the next chunk in another; a gradient finds
// pre there, fetched before it is needed. Each warp has its own buffers, so none waits for another.
//
// That way is for tiles within the matrix with rows at multiples of 16 bytes. Otherwise the sums themselves go through a
// buffer, and lanes take pieces of its rows to epilogue.cuh.
// Source: PTX ISA, "cp.async.bulk.tensor"; Pranjal Shankhdhar 2024, "Outperforming cuBLAS on H100".
#pragma once
#include "common/ptx/tensor_copy.cuh"
#include "products/chunks.cuh"
#include "products/epilogue.cuh"
#include "products/scatter.cuh"

static_assert(!COLUMN_MOMENTS, "this epilogue writes sums of columns, and no moments");

// The largest number of buffers, up to `most`, that divides the number of items which go through them in a tile: so an
// item has the same buffer in each tile.
__device__ constexpr int buffers_of(int items, int most) {
  while (items % most) most--;
  return most;
}

// The place of a warp's sums in the result: matrix `index` of the batch, its first row, its first column.
struct WarpTile {
  int index, row, col;
};

template <int MOST_BUFFERS, int SLABS, int GROUPS, class Input, class Output>
class Staged {
 public:
  using Place = ChunkPlace<Output>;
  static constexpr int CHUNKS = (GROUPS + Place::GROUPS - 1) / Place::GROUPS;
  static constexpr bool READS_PRE = EPILOGUE_IS_GRADIENT;
  static constexpr bool WRITES_PRE = EPILOGUE == EPILOGUE_GELU || EPILOGUE == EPILOGUE_GELU_TANH;  // ReLU needs none
  static constexpr int ITEMS = SLABS * CHUNKS * (WRITES_PRE ? 2 : 1);  // that go through buffers
  static constexpr int USED = buffers_of(ITEMS, MOST_BUFFERS);
  static constexpr int SLAB_ROWS = 64;  // from one to the next

  // memory: MOST_BUFFERS chunks for each warp, from a multiple of 1024 bytes on; loaded: as many barriers. `warp`: the
  // number among those that have some.
  __device__ __forceinline__ Staged(unsigned char* memory, Barrier* loaded, int warp)
      : buffers(memory + warp * MOST_BUFFERS * CHUNK_BYTES), loaded(loaded + warp * MOST_BUFFERS) {}

  // One thread calls it for all warps, before barrier_init_fence().
  static __device__ __forceinline__ void init(Barrier* loaded, int warps) {
    if (READS_PRE)
      for (int i = 0; i < warps * MOST_BUFFERS; i++) barrier_init(&loaded[i], 1);
  }

  // Whether the copy engine can write (and read) what belongs to this product.
  static __device__ __forceinline__ bool takes(const Gemm<Input, Output>& gemm) {
    const bool out = rows_aligned<8>(gemm.out, gemm.out_ld) &&
                     (gemm.batch == 1 || gemm.out_batch % (16 / sizeof(Output)) == 0);
    const bool others = rows_aligned<2>(gemm.bias, 0) && (gemm.beta == 0 || rows_aligned<2>(gemm.c, gemm.c_ld)) &&
                        (gemm.batch == 1 || gemm.c_batch % 2 == 0);
    const bool pre = READS_PRE || WRITES_PRE ? rows_aligned<8>(gemm.pre, 0) : !gemm.pre;
    return out && pre && others;
  }

  // Before the sums are there: fetch what the first chunks need.
  __device__ __forceinline__ void begin(const TensorMap& pre_map, const WarpTile& tile) {
    if (!READS_PRE || threadIdx.x % 32 != 0) return;
    tensor_stores_read<0>();
#pragma unroll
    for (int item = 0; item < USED; item++) fetch(pre_map, tile, item);
  }

  // Finish sums of a tile within the matrix. Every lane of the warp calls it, as all the functions below.
  __device__ __forceinline__ void finish(const Gemm<Input, Output>& gemm, const TensorMap& out_map,
                                         const TensorMap& pre_map, const WarpTile& tile,
                                         const float (&sums)[SLABS][GROUPS][4]) {
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
      constexpr int LAST = GROUPS - (CHUNKS - 1) * Place::GROUPS;
      if (chunk + 1 < CHUNKS || LAST == Place::GROUPS)
        finish_chunk<Place::GROUPS>(gemm, out_map, pre_map, tile, chunk, sums);
      else
        finish_chunk<LAST>(gemm, out_map, pre_map, tile, chunk, sums);
    }
    if (READS_PRE) rounds ^= ITEMS / USED & 1;
  }

  // Finish sums of any tile.
  __device__ __forceinline__ void finish_rows(const Gemm<Input, Output>& gemm, const WarpTile& tile,
                                              const float (&sums)[SLABS][GROUPS][4]) const {
    const ChunkPlace<float> place;
    if (threadIdx.x % 32 == 0) tensor_stores_read<0>();
#pragma unroll
    for (int slab = 0; slab < SLABS; slab++)
#pragma unroll
      for (int group = 0; group < GROUPS; group += 4) {
        float x[4][4];
#pragma unroll
        for (int i = 0; i < 16; i++) x[i / 4][i % 4] = sums[slab][group + i / 4][i % 4];
        __syncwarp();
        place.put(buffers, x);
        __syncwarp();
        take_rows(gemm, {tile.index, tile.row + slab * SLAB_ROWS, tile.col + 8 * group});
      }
    fence_async(buffers, CHUNK_BYTES);  // a copy may write there next
    __syncwarp();
  }

  // The warp may end only then.
  __device__ __forceinline__ void end() const {
    if (threadIdx.x % 32 == 0) tensor_stores_read<0>();
  }

 private:
  unsigned char* const buffers;
  Barrier* const loaded;
  const Place place;
  unsigned rounds = 0;  // through the buffers, before this tile: even or odd

  __device__ __forceinline__ unsigned char* buffer_of(int item) const {
    return buffers + item % USED * CHUNK_BYTES;
  }

  __device__ __forceinline__ void fetch(const TensorMap& pre_map, const WarpTile& tile, int item) const {
    Barrier* barrier = &loaded[item % USED];
    barrier_expect(barrier, CHUNK_BYTES);
    tensor_copy(buffer_of(item), &pre_map, tile.col + item / SLABS * Place::COLUMNS,
                tile.row + item % SLABS * SLAB_ROWS, tile.index, barrier);
  }

  // The chunk number `chunk` of all slabs, G groups wide.
  template <int G>
  __device__ __forceinline__ void finish_chunk(const Gemm<Input, Output>& gemm, const TensorMap& out_map,
                                               const TensorMap& pre_map, const WarpTile& tile, int chunk,
                                               const float (&sums)[SLABS][GROUPS][4]) {
    const int first = chunk * Place::GROUPS, pair = threadIdx.x % 4 * 2;
    float bias[G][2] = {};
    if (gemm.bias)
#pragma unroll
      for (int g = 0; g < G; g++) {
        const auto two = *reinterpret_cast<const Vec<float, 2>*>(gemm.bias + tile.col + 8 * (first + g) + pair);
        bias[g][0] = two.at[0];
        bias[g][1] = two.at[1];
      }
#pragma unroll
    for (int slab = 0; slab < SLABS; slab++) {
      const WarpTile at = {tile.index, tile.row + slab * SLAB_ROWS, tile.col + 8 * first};
      const int item = chunk * SLABS + slab;
      float x[G][4];
#pragma unroll
      for (int i = 0; i < 4 * G; i++)
        x[i / 4][i % 4] = gemm.alpha * sums[slab][first + i / 4][i % 4] + bias[i / 4][i % 2];
      if (gemm.beta != 0) add_old(gemm, at, x);
      activate_chunk(gemm, pre_map, at, item, x);
      put(gemm.out, gemm, out_map, at, WRITES_PRE ? 2 * item + 1 : item, x);
      if (READS_PRE) fetch_next(pre_map, tile, item);
      if (gemm.column_sums) add_columns(gemm, at, x);
    }
  }

  template <int G>
  __device__ __forceinline__ void add_old(const Gemm<Input, Output>& gemm, const WarpTile& at, float (&x)[G][4]) const {
    const int lane = threadIdx.x % 32;
    const Output* c = gemm.c + at.index * gemm.c_batch + (at.row + lane / 4) * (long long)gemm.c_ld + at.col;
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
      for (int g = 0; g < G; g++) {
        const Output* from = c + half * 8ll * gemm.c_ld + 8 * g + 2 * (lane % 4);
        const auto old = *reinterpret_cast<const Vec<Output, 2>*>(from);
        x[g][2 * half] += gemm.beta * to_float(old.at[0]);
        x[g][2 * half + 1] += gemm.beta * to_float(old.at[1]);
      }
  }

  template <int G>
  __device__ __forceinline__ void activate_chunk(const Gemm<Input, Output>& gemm, const TensorMap& pre_map,
                                                 const WarpTile& at, int item, float (&x)[G][4]) {
    if (READS_PRE) {
      float kept[G][4];
      barrier_wait(&loaded[item % USED], (rounds ^ item / USED) & 1);
      place.get(buffer_of(item), kept);
#pragma unroll
      for (int i = 0; i < 4 * G; i++) x[i / 4][i % 4] *= activate(kept[i / 4][i % 4]);
    } else {
      if (WRITES_PRE && gemm.pre)
        put(gemm.pre, gemm, pre_map, at, 2 * item, x);
      else if (WRITES_PRE && threadIdx.x % 32 == 0)
        commit_tensor_stores();  // none, so that groups count buffers
#pragma unroll
      for (int i = 0; i < 4 * G; i++) x[i / 4][i % 4] = activate(x[i / 4][i % 4]);
    }
  }

  // Write x by way of the buffer of `item`.
  template <int G>
  __device__ __forceinline__ void put(Output* out, const Gemm<Input, Output>& gemm, const TensorMap& map,
                                      const WarpTile& at, int item, const float (&x)[G][4]) const {
    const int lane = threadIdx.x % 32;
    unsigned char* buffer = buffer_of(item);
    if (!READS_PRE) {
      if (lane == 0) tensor_stores_read<USED - 1>();
      __syncwarp();
    }
    place.put(buffer, x);
    if (G == Place::GROUPS) {
      fence_async(buffer, CHUNK_BYTES);
      __syncwarp();
      if (lane == 0) {
        tensor_store(&map, at.col, at.row, at.index, buffer);
        commit_tensor_stores();
      }
    } else {  // half a chunk, which no box fits: two pieces of 16 bytes a lane
      __syncwarp();
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int row = lane / 4 + 8 * i, piece = lane % 4;
        const auto eight = *reinterpret_cast<const Vec<bf16, 8>*>(buffer + row * 128 + 16 * (piece ^ row % 8));
        Output* to = out + at.index * gemm.out_batch + (at.row + row) * (long long)gemm.out_ld + at.col + 8 * piece;
        *reinterpret_cast<Vec<bf16, 8>*>(to) = eight;
      }
      fence_async(buffer, CHUNK_BYTES);  // a copy may write there next
      __syncwarp();
      if (lane == 0) commit_tensor_stores();
    }
  }

  // After item is on its way: fetch into the buffer of the one before it, if that has been written.
  __device__ __forceinline__ void fetch_next(const TensorMap& pre_map, const WarpTile& tile, int item) const {
    constexpr int LAG = USED > 1 ? 1 : 0;
    const int next = item - LAG + USED;
    if (item < LAG || next >= ITEMS || threadIdx.x % 32 != 0) return;
    tensor_stores_read<LAG>();
    fetch(pre_map, tile, next);
  }

  template <int G>
  __device__ __forceinline__ void add_columns(const Gemm<Input, Output>& gemm, const WarpTile& at,
                                              const float (&x)[G][4]) const {
    float totals[2 * G];
#pragma unroll
    for (int j = 0; j < 2 * G; j++) totals[j] = x[j / 2][j % 2] + x[j / 2][j % 2 + 2];
    const int which = scatter_sums<2 * G>(totals);
    const long long slabs = (gemm.m + CHUNK_ROWS - 1) / CHUNK_ROWS;
    float* to = gemm.column_sums + (at.index * slabs + at.row / CHUNK_ROWS) * gemm.n + at.col + threadIdx.x % 4 * 2;
#pragma unroll
    for (int j = 0; j < G / 4; j++) to[(which + j) / 2 * 8 + (which + j) % 2] = totals[j];
  }

  // A chunk of sums as they are in the first buffer, four columns of a row at a time.
  __device__ __forceinline__ void take_rows(const Gemm<Input, Output>& gemm, const WarpTile& at) const {
    const Epilogue<4, Input, Output> finish(gemm, at.index);
    const int lane = threadIdx.x % 32, col = at.col + lane % 8 * 4;
    float totals[4] = {};
#pragma unroll 1
    for (int row = lane / 8; row < CHUNK_ROWS; row += 4) {
      const auto four = row_piece(buffers, row, lane % 8);
      float x[4] = {four.at[0], four.at[1], four.at[2], four.at[3]};
      finish(at.row + row, col, x);
#pragma unroll
      for (int i = 0; i < 4; i++) totals[i] += x[i];
    }
    if (!gemm.column_sums) return;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int apart = 8; apart < 32; apart *= 2) totals[i] += __shfl_xor_sync(~0u, totals[i], apart);
    if (lane >= 8 || at.row >= gemm.m) return;
    const long long slabs = (gemm.m + CHUNK_ROWS - 1) / CHUNK_ROWS;
    float* to = gemm.column_sums + (at.index * slabs + at.row / CHUNK_ROWS) * gemm.n;
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (col + i < gemm.n) to[col + i] = totals[i];
  }
};

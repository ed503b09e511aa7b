// Products by register tiles (tile.h): a block of rows, one panel of columns at a time.

typedef struct {
    const float *a, *b, *first;
    float *c;
    long at, ak, ah, bk, bh;    // steps through a and b, see tile.h
    long H, K;                  // the sum runs over H x K
    long ct, first_step, width; // from row to row of c and of first; columns of c
    int relu;
} Tile;

#if WIDTH == 16 || defined(__aarch64__)
#define PAIR_ROWS 12 // rows of a tile two vectors wide: 24 of 32 registers
#define SINGLE_ROWS 15
#else
#define PAIR_ROWS 6 // 12 of 16
#define SINGLE_ROWS 12
#endif
#define PANEL (2 * WIDTH)

#define TILE_VEC vec
#define TILE(name) JOIN(name##_, WIDTH)
#include "tile.h"
#undef TILE_VEC
#undef TILE
#define HALF HALF_OF(WIDTH) // of a vector: for few columns
#define HALF_OF(width) JOIN(HALF_OF_, width)
#define HALF_OF_16 8
#define HALF_OF_8 4
#define HALF_OF_4 4
#if WIDTH > 4
#define TILE_VEC JOIN(v, HALF)
#define TILE(name) JOIN(name##_, HALF)
#include "tile.h"
#undef TILE_VEC
#undef TILE
#endif

// The columns that a panel with n columns left is wide in memory
static long panel_width(long n) {
    return n > WIDTH ? PANEL : n > HALF ? WIDTH : HALF;
}

// One panel (width at most PANEL) of any number of rows: they are cut into tiles of nearly equal height
static void run_tiles(Tile q, long rows, int walk) {
    const int pair = q.width > WIDTH;
    const long most = pair ? PAIR_ROWS : SINGLE_ROWS, count = (rows + most - 1) / most;
    void (*const *cases)(const Tile *) = q.width > HALF ? JOIN(cases_, WIDTH)[walk][pair] : JOIN(cases_, HALF)[walk][0];
    const float *a = q.a, *first = q.first;
    float *c = q.c;
    for (long i = 0; i < count; i++) {
        const long begin = rows * i / count, end = rows * (i + 1) / count;
        q.a = a + begin * (walk ? q.at : 1);
        q.c = c + begin * q.ct;
        if (first) q.first = first + begin * q.first_step;
        if (q.H * q.K >= 128) // long enough for the lines of c to come
            for (long t = 0; t < end - begin; t++)
                for (long o = 0; o < q.width; o += 16) __builtin_prefetch(q.c + t * q.ct + o, 1);
        cases[end - begin - 1](&q);
    }
}

// Copy b (K, N), rows ``step`` apart, into panels: columns of a panel are neighbors, zeros fill the last. A few rows at
// a time go to all panels, so that they are read in one piece.
static void pack_panels(const float *b, long K, long N, long step, float *panels) {
    for (long i = 0; i < K; i += 16)
        for (long o = 0; o < N; o += PANEL) {
            const long n = MIN(PANEL, N - o), width = panel_width(N - o), end = MIN(i + 16, K);
            float *to = panels + o * K + i * width;
            for (long k = i; k < end; k++, to += width) {
                const float *from = b + k * step + o;
                if (n == PANEL) { // a fixed length
                    STORE(to, LOAD(from)), STORE(to + WIDTH, LOAD(from + WIDTH));
                    continue;
                }
                copy(to, from, n);
                if (n < width) memset(to + n, 0, 4 * (width - n));
            }
        }
}

// Floats that the panels of K x N numbers take
static long panels_size(long K, long N) {
    return K * (N / PANEL * PANEL + (N % PANEL ? panel_width(N % PANEL) : 0));
}

// 4 x 4 numbers, from rows ``step`` apart to rows ``to_step`` apart
INLINE void transpose_4x4(const float *from, long step, float *to, long to_step) {
    const v4 a = *(v4 *)from, b = *(v4 *)(from + step), c = *(v4 *)(from + 2 * step), d = *(v4 *)(from + 3 * step);
    const v4 p = __builtin_shufflevector(a, c, 0, 4, 1, 5), q = __builtin_shufflevector(a, c, 2, 6, 3, 7);
    const v4 r = __builtin_shufflevector(b, d, 0, 4, 1, 5), s = __builtin_shufflevector(b, d, 2, 6, 3, 7);
    *(v4 *)to = __builtin_shufflevector(p, r, 0, 4, 1, 5);
    *(v4 *)(to + to_step) = __builtin_shufflevector(p, r, 2, 6, 3, 7);
    *(v4 *)(to + 2 * to_step) = __builtin_shufflevector(q, s, 0, 4, 1, 5);
    *(v4 *)(to + 3 * to_step) = __builtin_shufflevector(q, s, 2, 6, 3, 7);
}

// to (N, M) = from (M, N), rows ``step`` and ``to_step`` apart, in blocks of 16 x 16: whole cache lines of both
static void transpose_some(const float *from, long step, long M, long N, float *to, long to_step) {
    for (long i = 0; i < M; i += 16)
        for (long j = 0; j < N; j += 16) {
            const long m_end = MIN(i + 16, M), n_end = MIN(j + 16, N), m_fours = i + (m_end - i) / 4 * 4;
            const long n_fours = j + (n_end - j) / 4 * 4;
            for (long n = j; n < n_fours; n += 4)
                for (long m = i; m < m_fours; m += 4)
                    transpose_4x4(from + m * step + n, step, to + n * to_step + m, to_step);
            for (long n = j; n < n_end; n++)
                for (long m = n < n_fours ? m_fours : i; m < m_end; m++) to[n * to_step + m] = from[m * step + n];
        }
}

// to (N, M) = from (M, N)
static void transpose(const float *from, long M, long N, float *to) {
    transpose_some(from, N, M, N, to, M);
}

// Copy the transpose of b (N, K), rows ``step`` apart, into panels, as pack_panels does b
static void pack_turned(const float *b, long N, long K, long step, float *panels) {
    for (long o = 0; o < N; o += PANEL) {
        const long n = MIN(PANEL, N - o), width = panel_width(N - o);
        if (n < width) memset(panels, 0, 4 * K * width);
        transpose_some(b + o * step, step, n, K, panels, width);
        panels += K * width;
    }
}

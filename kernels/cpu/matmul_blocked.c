// Products too large for the caches, c = first + a b, in blocks (Goto and van de Geijn 2008, "Anatomy of high-performance
// matrix multiplication"): the first cache holds one panel of b, DEPTH numbers deep, while the tiles of a block of a pass
// along it; the second holds that block and all panels of a block of b. Each number of c is summed in the order of k, as
// without blocks, so the bits are the same.

#define DEPTH 384      // of a block: numbers along k
#define A_ROWS 192     // of a block of a
#define B_COLS 512     // of a block of b
#define MOST_ROWS 1536 // of a that are packed at a time

typedef struct {
    Tile q;                   // of the whole product, without b and K
    const float *b;           // (K, cols), rows b_step apart; where turned, (cols, K)
    long b_step, rows, cols, K;
    int walk, turned;
    int row_parts, col_parts; // c is divided into so many rectangles, one for each thread
} Blocked;

// b (N, K), rows ``step`` apart, into the panels of its transpose; see pack_panels
static void pack_panels_turned(const float *b, long K, long N, long step, float *panels) {
    for (long o = 0; o < N; o += PANEL, b += PANEL * step) {
        const long n = MIN(PANEL, N - o), width = panel_width(N - o), n_fours = n / 4 * 4, k_fours = K / 4 * 4;
        for (long j = 0; j < n_fours; j += 4)
            for (long k = 0; k < k_fours; k += 4) transpose_4x4(b + j * step + k, step, panels + k * width + j, width);
        for (long j = 0; j < n; j++)
            for (long k = j < n_fours ? k_fours : 0; k < K; k++) panels[k * width + j] = b[j * step + k];
        for (long k = 0; k < K && n < width; k++) memset(panels + k * width + n, 0, 4 * (width - n));
        panels += K * width;
    }
}

// Tiles of a block of a whose rows are neighbors in memory, one number of k after the other (walk = 0), each by itself
static void pack_tiles(const float *a, long rows, long K, long step, float *tiles) {
    const long count = (rows + PAIR_ROWS - 1) / PAIR_ROWS;
    for (long i = 0; i < count; i++) {
        const long begin = rows * i / count, height = rows * (i + 1) / count - begin;
        const float *from = a + begin;
        if (height == PAIR_ROWS)
            for (long k = 0; k < K; k++, from += step, tiles += PAIR_ROWS) memcpy(tiles, from, 4 * PAIR_ROWS);
        else
            for (long k = 0; k < K; k++, from += step, tiles += height) move_some(tiles, from, height);
    }
}

// One panel of a block; a is packed where ``walk`` is 0
static void run_block(Tile q, long rows, int walk) {
    if (walk) {
        run_tiles(q, rows, 1);
        return;
    }
    const long count = (rows + PAIR_ROWS - 1) / PAIR_ROWS;
    const float *a = q.a, *first = q.first;
    float *c = q.c;
    for (long i = 0; i < count; i++) {
        const long begin = rows * i / count, height = rows * (i + 1) / count - begin;
        q.a = a + begin * q.K, q.ak = height, q.c = c + begin * q.ct;
        if (first) q.first = first + begin * q.first_step;
        run_tiles(q, height, 0);
    }
}

// One block of b, of the columns from ``col`` and the numbers of k from ``k``, by all rows from ``begin`` to ``end``
static void block_product(const Blocked *p, Tile q, long begin, long end, long k, long col, long cols, float *panels,
                          const float *tiles) {
    const float *b = p->b + (p->turned ? col * p->b_step + k : k * p->b_step + col);
    (p->turned ? pack_panels_turned : pack_panels)(b, q.K, cols, p->b_step, panels);
    for (long r = begin; r < end; r += A_ROWS)
        for (long o = 0; o < cols; o += PANEL) {
            Tile t = q;
            t.a = p->walk ? q.a + r * q.at + k : tiles + (r - begin) * q.K;
            t.b = panels + o * q.K, t.bk = panel_width(cols - o), t.width = MIN(PANEL, cols - o);
            t.c = q.c + r * q.ct + col + o;
            if (q.first) t.first = q.first + r * q.first_step + col + o;
            run_block(t, MIN(A_ROWS, end - r), p->walk);
        }
}

static void blocked_part(const void *context, long begin, long end, int piece) {
    const Blocked *p = context;
    float *panels = scratch(piece, 2, 0), *tiles = scratch(piece, 3, 0);
    const long num_panels = (p->cols + PANEL - 1) / PANEL, depths = (p->K + DEPTH - 1) / DEPTH;
    for (long item = begin; item < end; item++) {
        const long i = item / p->col_parts, j = item % p->col_parts;
        const long r_end = p->rows * (i + 1) / p->row_parts, c_begin = num_panels * j / p->col_parts * PANEL;
        const long c_end = MIN(p->cols, num_panels * (j + 1) / p->col_parts * PANEL);
        for (long r = p->rows * i / p->row_parts; r < r_end; r += MOST_ROWS)
            for (long d = 0; d < depths; d++) {
                const long k = p->K * d / depths, rows_end = MIN(r + MOST_ROWS, r_end);
                Tile q = p->q;
                q.K = p->K * (d + 1) / depths - k;
                q.H = 1;
                if (d) q.first = q.c, q.first_step = q.ct;
                q.relu = p->q.relu && d == depths - 1;
                if (!p->walk)
                    for (long s = r; s < rows_end; s += A_ROWS)
                        pack_tiles(q.a + k * q.ak + s, MIN(A_ROWS, rows_end - s), q.K, q.ak, tiles + (s - r) * q.K);
                for (long c = c_begin; c < c_end; c += B_COLS)
                    block_product(p, q, r, rows_end, k, c, MIN(B_COLS, c_end - c), panels, tiles);
            }
    }
}

// Divide c among the threads for the least time: of the products of a rectangle, and of packing for it
static void divide(Blocked *p) {
    double least = 0;
    for (int rows = 1; rows <= num_threads() && 24 * rows <= p->rows; rows++) {
        const int cols = MAX(1, MIN(num_threads() / rows, p->cols / (2 * PANEL)));
        const double high = (double)p->rows / rows, wide = (double)p->cols / cols;
        const double time = high * wide / PANEL + wide + (p->walk ? 0 : high);
        if (!least || time < least) least = time, p->row_parts = rows, p->col_parts = cols;
    }
}

// c = first + a b in blocks; 0 where there is no memory
static int run_blocked(Blocked p) {
    divide(&p);
    const long depth = MIN(DEPTH, p.K), cols = MIN(B_COLS, p.cols), count = p.row_parts * p.col_parts;
    for (int piece = 0; piece < count; piece++)
        COVER(scratch(piece, 2, 4 * panels_size(depth, cols)) &&
              (p.walk || scratch(piece, 3, 4 * depth * MIN(MOST_ROWS, p.rows))));
    parallel(blocked_part, &p, count, 2.0 * p.rows * p.cols * p.K / 50 / count);
    return 1;
}

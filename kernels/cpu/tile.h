// The register tile: every product here (linear layers, convolutions, Winograd's) is loops around it.
//
//     c[t][o] = first[t][o] + sum over h < H, k < K of a[h ah + t at + k ak] * b[h bh + k bk + o]
//                                                                       t < rows, o < width
//
// rows x V accumulators stay in registers; for each k, V vectors of b are loaded, and each of the rows' numbers of a,
// broadcast, multiplies them. A forward pass walks along a (ak = 1, rows at apart); the gradient of weights takes
// neighbors of a (at = 1) and walks over samples or pixels (ak apart). ``first`` is the bias, c itself, or 0.
//
// b is read in whole vectors: beyond ``width`` it holds anything that may be read; c is touched up to ``width`` only.
// Included once for each vector type: TILE_VEC, a vector type, and TILE(name), a name with the type in it.
#define TILE_WIDTH ((long)(sizeof(TILE_VEC) / 4))

INLINE void TILE(store)(float *c, TILE_VEC value, long n, int relu) {
    if (relu) value = (TILE_VEC)((__typeof__(value < 0))value & ~(value < 0));
    if (n >= TILE_WIDTH)
        *(TILE_VEC *)c = value;
    else
        move_some(c, (const float *)&value, n);
}

INLINE TILE_VEC TILE(load)(const float *c, long n) {
    TILE_VEC value = {};
    if (n >= TILE_WIDTH) return *(const TILE_VEC *)c;
    move_some((float *)&value, c, n);
    return value;
}

INLINE void TILE(body)(const int T, const int V, const int walk, const Tile *q) {
    TILE_VEC acc[SINGLE_ROWS][2];
    const float *a = q->a, *b = q->b, *first = q->first;
    const long at = walk ? q->at : 1, ak = walk ? 1 : q->ak, bk = q->bk, K = q->K, width = q->width;
    const long first_step = first ? q->first_step : 0;
    // where rows of c are narrow and follow each other, the next row overwrites the part of a vector beyond one
    const int whole = q->ct == width && V * TILE_WIDTH - width <= width;
    UNROLL for (int t = 0; t < T; t++, first += first_step)
        UNROLL for (int v = 0; v < V; v++) {
            if (t && !first_step) // one bias for all rows, or none
                acc[t][v] = acc[0][v];
            else {
                const long n = whole && t < T - 1 && first_step == width ? TILE_WIDTH : width - v * TILE_WIDTH;
                acc[t][v] = q->first ? TILE(load)(first + v * TILE_WIDTH, n) : (TILE_VEC){};
            }
        }
    for (long h = 0; h < q->H; h++, a += q->ah, b += q->bh) {
        const float *p[5] = {a, a + 3 * at, a + 6 * at, a + 9 * at, a + 12 * at}; // rows by threes: fewer registers
        const float *r = b;
        for (long k = 0; k < K; k++, r += bk) {
            TILE_VEC row[2];
            UNROLL for (int v = 0; v < V; v++) row[v] = *(const TILE_VEC *)(r + v * TILE_WIDTH);
            UNROLL for (int t = 0; t < T; t++) {
                const float x = p[t / 3][t % 3 * at];
                UNROLL for (int v = 0; v < V; v++) acc[t][v] += x * row[v];
            }
            UNROLL for (int i = 0; i < 5; i++) p[i] += ak;
        }
    }
    float *c = q->c;
    UNROLL for (int t = 0; t < T; t++, c += q->ct)
        UNROLL for (int v = 0; v < V; v++) {
            const long n = whole && t < T - 1 ? TILE_WIDTH : width - v * TILE_WIDTH;
            TILE(store)(c + v * TILE_WIDTH, acc[t][v], n, q->relu);
        }
}

#define CASE(T, V)                                                                       \
    static void TILE(walk##T##x##V)(const Tile *q) { TILE(body)(T, V, 1, q); } \
    static void TILE(stay##T##x##V)(const Tile *q) { TILE(body)(T, V, 0, q); }
CASE(1, 1) CASE(2, 1) CASE(3, 1) CASE(4, 1) CASE(5, 1) CASE(6, 1)
CASE(7, 1) CASE(8, 1) CASE(9, 1) CASE(10, 1) CASE(11, 1) CASE(12, 1)
CASE(1, 2) CASE(2, 2) CASE(3, 2) CASE(4, 2) CASE(5, 2) CASE(6, 2)
#if PAIR_ROWS > 6
CASE(7, 2) CASE(8, 2) CASE(9, 2) CASE(10, 2) CASE(11, 2) CASE(12, 2)
#endif
#if SINGLE_ROWS > 12
CASE(13, 1) CASE(14, 1) CASE(15, 1)
#endif
#undef CASE

#define SIX(kind, V) TILE(kind##1x##V), TILE(kind##2x##V), TILE(kind##3x##V), \
                     TILE(kind##4x##V), TILE(kind##5x##V), TILE(kind##6x##V)
#define TWELVE(kind, V) SIX(kind, V), TILE(kind##7x##V), TILE(kind##8x##V), TILE(kind##9x##V), \
                        TILE(kind##10x##V), TILE(kind##11x##V), TILE(kind##12x##V)
#if SINGLE_ROWS > 12
#define SINGLE(kind) TWELVE(kind, 1), TILE(kind##13x1), TILE(kind##14x1), TILE(kind##15x1)
#else
#define SINGLE(kind) TWELVE(kind, 1)
#endif
#if PAIR_ROWS > 6
#define PAIR(kind) TWELVE(kind, 2)
#else
#define PAIR(kind) SIX(kind, 2)
#endif
static void (*const TILE(cases)[2][2][SINGLE_ROWS])(const Tile *q) = {
    {{SINGLE(stay)}, {PAIR(stay)}},
    {{SINGLE(walk)}, {PAIR(walk)}},
};
#undef SIX
#undef TWELVE
#undef SINGLE
#undef PAIR

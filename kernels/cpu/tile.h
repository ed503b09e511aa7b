// The register tile: every product here (linear layers, convolutions, Winograd's) is loops around it.
//
//     c[t][o] = first[t][o] + sum over h < H, k < K of a[h ah + t at + k ak] * b[h bh + k bk + o]
//                                                                       t < rows, o < width
//
// rows x V accumulators stay in registers; for each k, V vectors of b are loaded, and each of the rows' numbers of a,
// broadcast, multiplies them. A forward pass walks along a (ak = 1, rows at apart); the gradient of weights takes
// neighbours of a (at = 1) and walks over samples or pixels (ak apart). ``first`` is the bias, c itself, or 0.
//
// b is read in whole vectors: beyond ``width`` it holds anything that may be read; c is touched up to ``width`` only.
// Included once for each vector type: TILE_VEC, a vector type, and TILE(name), a name with the type in it.
#define TILE_WIDTH ((long)(sizeof(TILE_VEC) / 4))

INLINE void TILE(body)(const int T, const int V, const int walk, const Tile *q) {
    TILE_VEC acc[TILE_ROWS][2];
    const float *a = q->a, *b = q->b;
    const long at = walk ? q->at : 1, ak = walk ? 1 : q->ak, bk = q->bk, K = q->K, ct = q->ct;
    UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int v = 0; v < V; v++) {
            TILE_VEC first = {};
            const float *from = q->first + t * q->first_step + v * TILE_WIDTH;
            if (q->first && q->width >= (v + 1) * TILE_WIDTH)
                first = *(const TILE_VEC *)from;
            else if (q->first)
                move_some((float *)&first, from, q->width - v * TILE_WIDTH);
            acc[t][v] = first;
        }
    for (long h = 0; h < q->H; h++, a += q->ah, b += q->bh) {
        const float *p[4] = {a, a + 3 * at, a + 6 * at, a + 9 * at}; // rows by threes: few enough registers
        const float *r = b;
        for (long k = 0; k < K; k++, r += bk) {
            TILE_VEC row[2];
            UNROLL for (int v = 0; v < V; v++) row[v] = *(const TILE_VEC *)(r + v * TILE_WIDTH);
            UNROLL for (int t = 0; t < T; t++) {
                const float x = p[t / 3][t % 3 * at];
                UNROLL for (int v = 0; v < V; v++) acc[t][v] += x * row[v];
            }
            UNROLL for (int i = 0; i < 4; i++) p[i] += ak;
        }
    }
    float *c = q->c;
    UNROLL for (int t = 0; t < T; t++, c += ct)
        UNROLL for (int v = 0; v < V; v++) {
            const TILE_VEC done = q->relu ? TILE(positive)(acc[t][v]) : acc[t][v];
            if (q->width >= (v + 1) * TILE_WIDTH)
                *(TILE_VEC *)(c + v * TILE_WIDTH) = done;
            else
                move_some(c + v * TILE_WIDTH, (const float *)&done, q->width - v * TILE_WIDTH);
        }
}

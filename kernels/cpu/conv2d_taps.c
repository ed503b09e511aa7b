// Convolution with few outputs, stride 1: a vector holds all taps of a line side by side, so that more of its lanes
// work.
//
// The products of each pixel of x for the outputs around it are computed first and added up afterwards; zeros beside a
// line are not multiplied at all. Both together: 1.6 times as fast for the gradient of 6 channels under 5x5 taps.
//
//     products[left + j][l, o] = sum over h, c of x[i + h - top, j, c] w[h, l, c, o]
//     y[i, m][o] = b[o] + sum over l of products[m + l][l, o]
//
// Legend: as in conv2d.c. Compute-bound. Oracle: ops/conv2d_im2col.py, float64.

#define FEW 8 // outputs: one vector v8

// Floats of one pixel's products, and room behind them for a vector
static long taps_width(const Conv *v) {
    return v->KW * v->O + FEW;
}

static void line_by_taps(const Conv *v, const float *x, long i, float *products, float *y) {
    const long first = i - v->top, begin = MAX(0, -first), end = MIN(v->KH, v->H - first), columns = v->KW * v->O;
    const long line = v->W * v->C, width = taps_width(v);
    const float *panel = v->panels;
    for (long o = 0; o < columns; o += PANEL) {
        const long n = panel_width(columns - o);
        const Tile q = {
            .a = x + (first + begin) * line, .at = v->C, .ah = line, .H = MAX(0, end - begin), .K = v->C,
            .b = panel + begin * v->C * n, .bk = n, .bh = v->C * n, .c = products + v->left * width + o, .ct = width,
            .width = MIN(PANEL, columns - o),
        };
        run_tiles(q, v->W, 1);
        panel += v->KH * v->C * n;
    }
    v8 bias = {};
    if (v->bias) memcpy(&bias, v->bias, 4 * v->O);
    for (long m = 0; m < v->OW; m++, products += width, y += v->O) {
        v8 total = bias;
        for (long l = 0; l < v->KW; l++) total += *(const v8 *)(products + l * (width + v->O));
        if (m * v->O + FEW <= v->OW * v->O) // the next pixel overwrites the excess
            *(v8 *)y = total;
        else
            memcpy(y, &total, 4 * v->O);
    }
}

static void by_taps_part(const void *context, long begin, long end, int thread) {
    const Conv *v = context;
    const long size = (v->OW + v->KW - 1) * taps_width(v);
    float *products = scratch(thread, 0, 4 * size);
    clear(products, size); // pixels beside the line stay 0, and so does the rest of a vector beyond the last tap
    for (long n = begin; n < end; n++)
        for (long i = 0; i < v->OH; i++)
            line_by_taps(v, v->x + n * v->H * v->W * v->C, i, products, v->y + n * v->y_image + i * v->y_line);
}

// Vectors multiplied for a line, against those multiplied here and those added, which take twice as long: which is
// less?
static int taps_pay(const Conv *v) {
    const long plain = v->OW * v->KW * v->KH * v->C * panel_width(v->O) / WIDTH;
    const long taps = v->W * v->KH * v->C * panels_size(1, v->KW * v->O) / WIDTH + 2 * v->OW * (v->KW + 2);
    return v->O <= FEW && v->sh * v->sw == 1 && v->left >= 0 && taps < plain - plain / 8;
}

static int conv_by_taps(Conv *v, const float *w) {
    const long K = v->KH * v->C, columns = v->KW * v->O;
    float *rows = scratch(0, 1, 4 * K * columns), *panels = scratch(0, 2, 4 * panels_size(K, columns));
    COVER(rows && panels);
    for (long h = 0; h < v->KH; h++) // (KH, KW, C, O) to (KH, C, KW, O)
        for (long l = 0; l < v->KW; l++)
            for (long c = 0; c < v->C; c++, w += v->O) memcpy(rows + ((h * v->C + c) * v->KW + l) * v->O, w, 4 * v->O);
    pack_panels(rows, K, columns, columns, panels);
    v->panels = panels;
    parallel(by_taps_part, v, v->N, 2.0 * v->OH * v->W * K * columns / 50);
    return 1;
}

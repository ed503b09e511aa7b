// Convolution with groups and dilation, directly: outputs of group g see the channels of group g only, and taps are
// ``dilation`` pixels apart. Any kernel, stride and padding. Plain convolutions are in conv2d.c, depthwise ones in
// conv2d_depthwise.c.
//
// A tap sees Cg neighboring channels, so a convolution is a sum of KH KW thin products. Tiles (tile.h) walk along the
// Cg channels of all taps of one column of the kernel; where groups have few outputs, conv2d_grouped_narrow.c fills the
// lanes of a vector with several groups instead. dx: as in conv2d.c, each phase of pixels is a convolution of dy.
//
// Legend: x (N, H, W, C); w (KH, KW, Cg, O); y (N, OH, OW, O); G groups, Cg = C / G, Og = O / G. Oracle: Im2col of
// ops/conv2d_im2col.py, float64.

typedef struct {
    Conv v; // as if the kernel were as wide as it reaches; v.panels: packed weights
    long G, Cg, Og, KH, KW, dh, dw;
    const float *dy;
    long blocks, slot, ring; // conv2d_grouped_narrow.c
} Grouped;

// Which taps of w (KH, width, Cg, O) a convolution has: first_h, first_h + step_h ... and so on
typedef struct {
    const float *w;
    long width, first_h, step_h, first_w, step_w;
} Chosen;

INLINE const float *chosen_tap(const Grouped *g, const Chosen *t, long h, long k) {
    return t->w + ((t->first_h + h * t->step_h) * t->width + t->first_w + k * t->step_w) * g->Cg * g->v.O;
}

#include "conv2d_grouped_narrow.c"

static void grouped_line(const Grouped *g, const float *x, long line, long i, float *y) {
    const Conv *v = &g->v;
    const long first = i * v->sh - v->top;
    const Taps rows = taps_inside(first, g->KH, g->dh, v->H);
    const float *panel = v->panels;
    for (long to = 0; to < v->O; to += g->Og)
        for (long o = 0; o < g->Og; o += PANEL) {
            const long width = panel_width(g->Og - o);
            float *c = y + to + o;
            for (long k = 0; k < g->KW; k++, panel += g->KH * g->Cg * width) {
                Tile q = {
                    .a = x + (first + rows.first * g->dh) * line + k * g->dw * v->C + to / g->Og * g->Cg,
                    .at = v->sw * v->C, .ah = g->dh * line, .H = MAX(0, rows.last - rows.first), .K = g->Cg,
                    .b = panel + rows.first * g->Cg * width, .bk = width, .bh = g->Cg * width,
                    .first = k ? c : v->bias ? v->bias + to + o : 0, .first_step = k ? v->y_step : 0,
                    .c = c, .ct = v->y_step, .width = MIN(PANEL, g->Og - o),
                };
                run_tiles(q, v->OW, 1);
            }
        }
}

static long grouped_line_floats(const Conv *v) {
    return (needs_padding(v) ? (v->OW - 1) * v->sw + v->KW : v->W) * v->C;
}

static void grouped_part(const void *context, long begin, long end, int piece) {
    const Grouped *g = context;
    const Conv *v = &g->v;
    const long line = grouped_line_floats(v);
    for (long n = begin; n < end; n++) {
        const float *x = v->x + n * v->H * v->W * v->C;
        if (needs_padding(v)) x = padded_lines(v, x, scratch(piece, 0, 4 * v->H * line));
        for (long i = 0; i < v->OH; i++) grouped_line(g, x, line, i, v->y + n * v->y_image + i * v->y_line);
    }
}

static void pack_groups(const Grouped *g, const Chosen *taps, float *to) {
    for (long group = 0; group < g->v.O; group += g->Og)
        for (long o = 0; o < g->Og; o += PANEL)
            for (long k = 0; k < g->KW; k++)
                for (long h = 0; h < g->KH; h++) {
                    const float *tap = chosen_tap(g, taps, h, k) + group + o;
                    const long n = MIN(PANEL, g->Og - o), width = panel_width(g->Og - o);
                    for (long c = 0; c < g->Cg; c++, to += width, tap += g->v.O) {
                        memcpy(to, tap, 4 * n);
                        memset(to + n, 0, 4 * (width - n));
                    }
                }
}

// Memory for all pieces; 0 where there is none
static int grouped_memory(const Grouped *g, long floats, int slot) {
    for (int t = 0; t < num_threads(); t++) COVER(scratch(t, slot, 4 * floats));
    return 1;
}

static int run_grouped(Grouped *g, const Chosen *taps) {
    Conv *v = &g->v;
    if (v->OH <= 0 || v->OW <= 0) return 1;
    const double cost = 2.0 * v->OH * v->OW * v->O * g->KH * g->KW * g->Cg / 50;
    if (is_narrow(g)) {
        plan_narrow(g);
        float *lanes = scratch(0, 2, 4 * lanes_size(g));
        COVER(lanes && grouped_memory(g, g->ring * g->slot, 0));
        pack_lanes(g, taps, lanes);
        v->panels = lanes;
        parallel(narrow_part, g, v->N * g->blocks, cost / g->blocks);
    } else {
        float *panels = scratch(0, 2, 4 * g->G * panels_size(g->KH * g->KW * g->Cg, g->Og));
        COVER(panels && grouped_memory(g, v->H * grouped_line_floats(v), 0));
        pack_groups(g, taps, panels);
        v->panels = panels;
        parallel(grouped_part, g, v->N, cost);
    }
    return 1;
}

// how: sh, sw, ph, pw, dh, dw, groups
static int grouped_of(const Arg *x, const Arg *w, const Arg *y, const Arg *how, Grouped *g) {
    COVER(x->ndim == 4 && w->ndim == 4 && y->ndim == 4 && x->dim[0] == y->dim[0] && w->dim[3] == y->dim[3]);
    const long G = how[6].i;
    COVER(G > 0 && w->dim[2] * G == x->dim[3] && w->dim[3] % G == 0 && w->size);
    *g = (Grouped){
        .G = G, .Cg = w->dim[2], .Og = w->dim[3] / G, .KH = w->dim[0], .KW = w->dim[1], .dh = how[4].i, .dw = how[5].i,
        .v = {
            .N = x->dim[0], .H = x->dim[1], .W = x->dim[2], .C = x->dim[3], .OH = y->dim[1], .OW = y->dim[2],
            .O = y->dim[3], .KW = (w->dim[1] - 1) * how[5].i + 1, .sh = how[0].i, .sw = how[1].i, .top = how[2].i,
            .left = how[3].i, .y_image = y->dim[1] * y->dim[2] * y->dim[3], .y_line = y->dim[2] * y->dim[3],
            .y_step = y->dim[3],
        },
    };
    const Conv *v = &g->v;
    return v->OH == (v->H + 2 * v->top - (g->KH - 1) * g->dh - 1) / v->sh + 1 && v->OW == (v->W + 2 * v->left - v->KW) / v->sw + 1;
}

KERNEL(conv2d_grouped) { // x, w, b, y, sh, sw, ph, pw, dh, dw, groups
    Grouped g;
    COVER(grouped_of(&a[0], &a[1], &a[3], &a[4], &g) && (!a[2].f || a[2].size == g.v.O));
    g.v.x = a[0].f, g.v.bias = a[2].f, g.v.y = a[3].f;
    return run_grouped(&g, &(Chosen){.w = a[1].f, .width = g.KW, .step_h = 1, .step_w = 1});
}

// dx ------------------------------------------------------------------------------------------------------------------

// w (KH, KW, Cg, O) rotated by 180 degrees with the channels of each group swapped: (KH, KW, Og, C)
static void turn_groups(const Grouped *g, const float *w, float *to) {
    const long taps = g->KH * g->KW, C = g->v.C, O = g->v.O;
    for (long k = 0; k < taps; k++, to += g->Og * C) {
        const float *tap = w + (taps - 1 - k) * g->Cg * O;
        for (long o = 0; o < O; o++)
            for (long c = 0; c < g->Cg; c++) to[o % g->Og * C + o / g->Og * g->Cg + c] = tap[c * O + o];
    }
}

// As Phase of conv2d.c, with dilation: taps that reach pixels with remainder r are ``step`` apart, their outputs
// ``dilation`` apart
typedef struct {
    Phase taps;
    long step, dilation;
} DilatedPhase;

static DilatedPhase dilated_phase(long r, long stride, long padding, long K, long dilation) {
    long step = 1, lowest = 0; // the lowest tap that reaches such pixels, not rotated
    while (step * dilation % stride) step++;
    while (lowest < K && (r + padding - lowest * dilation) % stride) lowest++;
    DilatedPhase p = {.step = step, .dilation = step * dilation / stride};
    p.taps.count = lowest < K ? (K - 1 - lowest) / step + 1 : 0;
    p.taps.first = K - 1 - (lowest + (p.taps.count - 1) * step);
    p.taps.before = (p.taps.count - 1) * p.dilation - (r + padding - lowest * dilation) / stride;
    return p;
}

static int some_pixels_reach_nothing(const Grouped *g) {
    for (long r = 0; r < g->v.sh; r++)
        if (!dilated_phase(r, g->v.sh, g->v.top, g->KH, g->dh).taps.count) return 1;
    for (long s = 0; s < g->v.sw; s++)
        if (!dilated_phase(s, g->v.sw, g->v.left, g->KW, g->dw).taps.count) return 1;
    return 0;
}

KERNEL(conv2d_grouped_dx) { // dy, w, dx, sh, sw, ph, pw, dh, dw, groups
    Grouped f; // as in forward
    COVER(grouped_of(&a[2], &a[1], &a[0], &a[3], &f));
    const Conv *v = &f.v;
    float *turned = scratch(0, 3, 4 * a[1].size);
    COVER(turned);
    turn_groups(&f, a[1].f, turned);
    if (some_pixels_reach_nothing(&f)) memset(a[2].f, 0, 4 * a[2].size);
    for (long r = 0; r < v->sh; r++)
        for (long s = 0; s < v->sw; s++) {
            const DilatedPhase up = dilated_phase(r, v->sh, v->top, f.KH, f.dh);
            const DilatedPhase along = dilated_phase(s, v->sw, v->left, f.KW, f.dw);
            if (!up.taps.count || !along.taps.count) continue;
            Grouped g = {
                .G = f.G, .Cg = f.Og, .Og = f.Cg, .KH = up.taps.count, .KW = along.taps.count, .dh = up.dilation,
                .dw = along.dilation,
                .v = {
                    .x = a[0].f, .N = v->N, .H = v->OH, .W = v->OW, .C = v->O, .y = a[2].f + (r * v->W + s) * v->C,
                    .OH = (v->H - r + v->sh - 1) / v->sh, .OW = (v->W - s + v->sw - 1) / v->sw, .O = v->C,
                    .KW = (along.taps.count - 1) * along.dilation + 1, .sh = 1, .sw = 1, .top = up.taps.before,
                    .left = along.taps.before, .y_image = v->H * v->W * v->C, .y_line = v->sh * v->W * v->C,
                    .y_step = v->sw * v->C,
                },
            };
            const Chosen taps = {turned, f.KW, up.taps.first, up.step, along.taps.first, along.step};
            COVER(run_grouped(&g, &taps)); // the first phase fails before anything is written, or none does
        }
    return 1;
}

// dw ------------------------------------------------------------------------------------------------------------------

// Add the gradient of one image to sums (KH, KW, Cg, O); dy is padded by a vector where its columns are not whole
// vectors
static void grouped_dw_image(const Grouped *g, const float *x, long line, const float *dy, float *sums) {
    const Conv *v = &g->v;
    for (long to = 0; to < v->O; to += g->Og)
        for (long o = to; o < to + g->Og; o += PANEL)
            for (long tap = 0; tap < g->KH * g->KW; tap++) {
                const long place = tap / g->KW * g->dh - v->top; // the line that output line 0 sees
                const Taps lines = taps_inside(place, v->OH, v->sh, v->H);
                if (lines.first >= lines.last) continue;
                float *c = sums + tap * g->Cg * v->O + o;
                Tile q = {
                    .a = x + (place + lines.first * v->sh) * line + tap % g->KW * g->dw * v->C + to / g->Og * g->Cg,
                    .ak = v->sw * v->C, .ah = v->sh * line, .H = lines.last - lines.first, .K = v->OW,
                    .b = dy + lines.first * v->OW * v->O + o, .bk = v->O, .bh = v->OW * v->O,
                    .c = c, .ct = v->O, .first = c, .first_step = v->O, .width = MIN(PANEL, to + g->Og - o),
                };
                run_tiles(q, g->Cg, 0);
            }
}

static void grouped_dw_part(const void *context, long begin, long end, int piece) {
    const Grouped *g = context;
    const Conv *v = &g->v;
    const long line = grouped_line_floats(v), pixels = v->OH * v->OW * v->O, sums = g->KH * g->KW * g->Cg * v->O;
    float *last = (float *)scratch(piece, 1, 4 * (sums + pixels + PANEL)) + sums;
    for (long n = begin; n < end; n++) {
        const float *x = v->x + n * v->H * v->W * v->C, *dy = g->dy + n * pixels;
        if (needs_padding(v)) x = padded_lines(v, x, scratch(piece, 0, 4 * v->H * line));
        if ((v->N - 1 - n) * pixels < PANEL) dy = memcpy(last, dy, 4 * pixels); // tiles read beyond its end
        grouped_dw_image(g, x, line, dy, last - sums);
    }
}

KERNEL(conv2d_grouped_dw) { // x, dy, dw, sh, sw, ph, pw, dh, dw, groups, accumulate
    Grouped g;
    COVER(grouped_of(&a[0], &a[2], &a[1], &a[3], &g));
    g.v.x = a[0].f, g.dy = a[1].f;
    const int narrow = is_narrow(&g), pieces = num_threads();
    plan_narrow(&g);
    const long sums = narrow ? lanes_size(&g) : a[2].size, size = sums + (narrow ? 0 : g.v.y_image + PANEL);
    COVER(grouped_memory(&g, size, 1));
    COVER(grouped_memory(&g, narrow ? g.ring * g.slot + g.v.OW * WIDTH : g.v.H * grouped_line_floats(&g.v), 0));
    for (int t = 0; t < pieces; t++) memset(scratch(t, 1, 4 * size), 0, 4 * sums);
    parallel(narrow ? narrow_dw_part : grouped_dw_part, &g, g.v.N, 2.0 * g.v.OH * g.v.OW * a[2].size / 50);
    add_up(pieces, 1, narrow ? scratch(0, 1, 0) : a[2].f, sums, narrow ? 0 : a[10].i);
    if (narrow) unpack_lanes(&g, scratch(0, 1, 0), a[2].f, a[10].i);
    return 1;
}

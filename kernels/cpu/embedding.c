// Rows of a table: y[m] = table[ids[m]], and dtable[ids[m]] += dy[m].
// Shapes: ids (M,) int64 in [0, V); table, dtable (V, D); y, dy (M, D). Memory-bound. Oracle: ops/embedding.py.

static int rows_fit(const Arg *ids, const Arg *rows, const Arg *table) {
    return rows->ndim == 2 && table->ndim == 2 && rows->dim[0] == ids->size && rows->dim[1] == table->dim[1] &&
           targets_fit(ids, table->dim[0]);
}

static void embedding_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long D = a[1].dim[1];
    for (long m = begin; m < end; m++) copy(a[2].f + m * D, a[1].f + a[0].l[m] * D, D);
}

KERNEL(embedding) { // ids, table, y
    COVER(rows_fit(&a[0], &a[2], &a[1]));
    parallel(embedding_part, a, a[0].size, .2 * a[1].dim[1] + 5);
    return 1;
}

// Columns are shared out, not rows: no two threads add to one place, and sums have one order
static void embedding_dw_part(const void *context, long begin, long end, int piece) {
    const Arg *a = context;
    const long D = a[1].dim[1], first = begin * WIDTH, stop = MIN(end * WIDTH, D);
    for (long m = 0; m < a[0].size; m++) {
        const float *dy = a[1].f + m * D;
        float *row = a[2].f + a[0].l[m] * D;
        for (long d = first; d < stop; d += WIDTH)
            store_some(row + d, load_some(row + d, stop - d) + load_some(dy + d, stop - d), stop - d);
    }
}

KERNEL(embedding_dw) { // ids, dy, dtable
    COVER(rows_fit(&a[0], &a[1], &a[2]));
    const long vectors = (a[1].dim[1] + WIDTH - 1) / WIDTH;
    parallel(embedding_dw_part, a, vectors, 5.0 * a[0].size);
    return 1;
}

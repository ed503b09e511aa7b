// The baseline kernels in a process of their own, for a machine that is only emulated here: remote.py sends arguments,
// and gets back what was written. All numbers little endian, as both machines have them.
#include "../../../kernels/cpu/kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *kinds;
} signatures[NUM_KERNELS] = {
#define K(name, kinds, arguments) {#name, kinds},
    KERNELS(K)
#undef K
};

static void receive(void *to, size_t bytes) {
    if (bytes && fread(to, bytes, 1, stdin) != 1) exit(0); // the other side has ended
}

static int64_t receive_number(void) {
    int64_t number;
    receive(&number, sizeof number);
    return number;
}

// An array: its bytes (-1 for None), elements, dimensions, and what is in it, in memory of just that size
static int64_t receive_array(Arg *a, long *dim, long *stride) {
    const int64_t bytes = receive_number();
    *a = (Arg){.dim = dim, .stride = stride};
    if (bytes < 0) return 0;
    a->size = receive_number();
    a->ndim = receive_number();
    for (long d = 0; d < a->ndim; d++) dim[d] = receive_number();
    for (long d = a->ndim, step = 4; d--; step *= dim[d]) stride[d] = step; // of kinds s and S, which are float32
    a->b = malloc(bytes ? bytes : 1);
    receive(a->b, bytes);
    return bytes;
}

static void serve(int kernel) {
    Arg a[MAX_ARGUMENTS];
    long dims[MAX_ARGUMENTS][8], strides[MAX_ARGUMENTS][8];
    int64_t bytes[MAX_ARGUMENTS] = {0};
    const char *kinds = signatures[kernel].kinds;
    for (int i = 0; kinds[i]; i++) {
        a[i] = (Arg){0};
        if (kinds[i] == 'i')
            a[i].i = receive_number();
        else if (kinds[i] == 'x')
            receive(&a[i].x, sizeof a[i].x);
        else
            bytes[i] = receive_array(&a[i], dims[i], strides[i]);
    }
    const int64_t done = level_baseline.kernels[kernel](a);
    fwrite(&done, sizeof done, 1, stdout);
    for (int i = 0; kinds[i]; i++) {
        if (kinds[i] >= 'A' && kinds[i] <= 'Z') fwrite(a[i].b, 1, bytes[i], stdout);
        if (kinds[i] != 'i' && kinds[i] != 'x') free(a[i].b);
    }
    fflush(stdout);
}

int main(void) {
    for (int i = 0; i < NUM_KERNELS; i++) printf("%s %s\n", signatures[i].name, signatures[i].kinds);
    printf("\n");
    fflush(stdout);
    for (;;) {
        const int64_t kernel = receive_number();
        if (kernel >= 0)
            serve((int)kernel);
        else
            set_num_threads((int)-kernel);
    }
}

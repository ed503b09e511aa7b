// Many jobs of random sizes on one to six threads: every item is done once, by the job that asked. Prints what is wrong.
#include "../../../kernels/cpu/kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 1000

static int seen[MOST];

static void mark(const void *context, long begin, long end, int piece) {
    for (long i = begin; i < end; i++) seen[i] += *(const int *)context;
}

int main(int argc, char **argv) {
    unsigned random = 1;
    long wrong = 0;
    for (int job = 1; job <= atoi(argv[1]); job++) {
        random = random * 1664525 + 1013904223; // Numerical Recipes' generator
        const long count = (random >> 8) % MOST;
        set_num_threads(1 + (random >> 16) % 6);
        memset(seen, 0, sizeof seen);
        parallel(mark, &job, count, random >> 28 ? 100 : 1e5);
        for (long i = 0; i < MOST; i++) wrong += seen[i] != (i < count ? job : 0);
        if (random >> 20 == 0) usleep(500); // so that threads fall asleep
    }
    if (wrong) printf("%ld items are wrong\n", wrong);
    return wrong > 0;
}

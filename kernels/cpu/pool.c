// One pool of threads for all kernels. The calling thread works too; the others look out for work for 50 microseconds
// after the last and then sleep, so that nothing spins while BLAS, MPI or another rank wants the core. Items are shared
// out in one contiguous piece a thread: sums come out the same in every run with as many threads.
#include "kernels.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define MAX_THREADS 64
#define SLOTS 4
#define WORTH_WAKING 8000.0 // nanoseconds of work for each thread
#define LOOK_OUT 50000      // nanoseconds

static struct {
    Part *part;
    const void *context;
    long count;
    int threads;
} job;
static int wanted = 1, started = 1;     // threads: allowed, and made so far (both with the calling one)
static atomic_uint ticket[MAX_THREADS]; // a change tells that thread to do its piece of the job
static atomic_int working, sleeping;    // threads with a piece of the job; threads that need a wake-up
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake_up = PTHREAD_COND_INITIALIZER;

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static long nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void do_piece(int thread) {
    const long begin = job.count * thread / job.threads, end = job.count * (thread + 1) / job.threads;
    if (begin < end) job.part(job.context, begin, end, thread);
}

static void wait_for_ticket(int thread, unsigned seen) {
    for (const long begin = nanoseconds(); nanoseconds() - begin < LOOK_OUT;)
        for (int i = 0; i < 32; i++, relax())
            if (atomic_load(&ticket[thread]) != seen) return;
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&sleeping, 1);
    while (atomic_load(&ticket[thread]) == seen) pthread_cond_wait(&wake_up, &lock);
    atomic_fetch_sub(&sleeping, 1);
    pthread_mutex_unlock(&lock);
}

static void *worker(void *argument) {
    const int thread = (int)(intptr_t)argument;
    for (unsigned seen = 0;; seen++) {
        wait_for_ticket(thread, seen);
        do_piece(thread);
        atomic_fetch_sub(&working, 1);
    }
    return 0;
}

static void start_workers(void) {
    for (pthread_t thread; started < wanted; started++) {
        atomic_store(&ticket[started], 0);
        if (pthread_create(&thread, 0, worker, (void *)(intptr_t)started)) {
            wanted = started; // the system has no more threads for us: go on with those there are
            return;
        }
        pthread_detach(thread);
    }
}

// A child of fork has the calling thread only, and the state that the others left behind
static void forget_workers(void) {
    started = 1;
    atomic_store(&sleeping, 0);
    pthread_mutex_init(&lock, 0);
    pthread_cond_init(&wake_up, 0);
}

void set_num_threads(int count) {
    static int prepared;
    if (!prepared) prepared = !pthread_atfork(0, 0, forget_workers);
    wanted = count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
}

int num_threads(void) {
    return wanted;
}

void parallel(Part *part, const void *context, long count, double cost) {
    const double worth = count * cost / WORTH_WAKING;
    start_workers();
    job.part = part, job.context = context, job.count = count;
    job.threads = count < wanted ? (int)count : wanted; // thread 0 has a piece if there is one
    if (worth < job.threads) job.threads = (int)worth;
    if (job.threads < 1) job.threads = 1;
    atomic_store(&working, job.threads - 1);
    for (int thread = 1; thread < job.threads; thread++) atomic_fetch_add(&ticket[thread], 1);
    if (job.threads > 1 && atomic_load(&sleeping)) {
        pthread_mutex_lock(&lock);
        pthread_cond_broadcast(&wake_up);
        pthread_mutex_unlock(&lock);
    }
    do_piece(0);
    for (long spins = 0; atomic_load(&working); spins++) spins < 20000 ? relax() : (void)sched_yield();
}

void *scratch(int thread, int slot, long bytes) {
    static struct {
        void *memory;
        long bytes;
    } kept[MAX_THREADS][SLOTS];
    const long whole = (bytes + 63) / 64 * 64;
#ifdef EXACT_SCRATCH // for the address sanitizer: no room is left over from a larger call
    const int fits = !bytes || kept[thread][slot].bytes == whole;
#else
    const int fits = kept[thread][slot].bytes >= whole;
#endif
    if (!fits) {
        free(kept[thread][slot].memory);
        kept[thread][slot].memory = aligned_alloc(64, whole);
        kept[thread][slot].bytes = kept[thread][slot].memory ? whole : 0;
    }
    return kept[thread][slot].memory;
}

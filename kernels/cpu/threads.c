// One pool of threads for all kernels. The calling thread works too; the others spin for a short time after the last
// job and then sleep, so that they do not occupy a core that BLAS, MPI or another rank needs.
//
// Work is cut into one contiguous piece per thread, and the result of a piece does not depend on the thread: sums are
// the same in every run with the same number of threads. A thread takes its own piece first, whose memory is in its
// cache from the pass before; a thread that is done takes a piece that is not begun, so that no job waits for a thread
// to wake up.
#include "kernels.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define MAX_THREADS 64
#define SLOTS 4
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define WORTH_SHARING 6000.0  // nanoseconds of work for each thread, where threads are spinning
#define WORTH_WAKING 60000.0  // where they sleep
#define SPIN 200000       // nanoseconds

static struct {
    Part *part;
    const void *context;
    long count;
    int pieces;
} job;
static atomic_int wanted = 1;            // threads, with the calling one
static int started = 1;                  // of them, made so far
static int places = 1;                   // for pieces: the largest number of threads so far
static atomic_uint number;               // of the job; at a change threads look for pieces
static atomic_uint begun[MAX_THREADS];   // the last job whose piece at this place is begun
static atomic_int open_pieces, sleeping; // pieces that are not done; threads that need a wake-up
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

// Do the piece of job ``now`` at that place, unless it is begun or that job is over. A piece that is taken keeps its
// job open, and with it the fields of ``job``.
static void take_piece(int place, unsigned now) {
    unsigned last = now - 1;
    if (!atomic_compare_exchange_strong(&begun[place], &last, now)) return;
    const long begin = job.count * place / job.pieces, end = job.count * (place + 1) / job.pieces;
    if (begin < end) job.part(job.context, begin, end, place);
    atomic_fetch_sub(&open_pieces, 1);
}

static void take_pieces(int first, unsigned now) {
    for (int i = 0; i < wanted; i++) take_piece((first + i) % wanted, now);
}

static unsigned wait_for_job(unsigned last) {
    for (const long begin = nanoseconds(); nanoseconds() - begin < SPIN;)
        for (int i = 0; i < 32; i++, relax())
            if (atomic_load(&number) != last) return atomic_load(&number);
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&sleeping, 1);
    while (atomic_load(&number) == last) pthread_cond_wait(&wake_up, &lock);
    atomic_fetch_sub(&sleeping, 1);
    pthread_mutex_unlock(&lock);
    return atomic_load(&number);
}

static void *worker(void *argument) {
    const int thread = (int)(intptr_t)argument;
    for (unsigned now = atomic_load(&number);; now = wait_for_job(now))
        if (thread < wanted) take_pieces(thread, now);
    return 0;
}

static void start_workers(void) {
    for (pthread_t thread; started < wanted; started++) {
        if (pthread_create(&thread, 0, worker, (void *)(intptr_t)started)) return; // the others do their pieces
        pthread_detach(thread);
    }
}

// A child of fork has the calling thread only, but the state of the others
static void forget_workers(void) {
    started = 1;
    atomic_store(&sleeping, 0);
    pthread_mutex_init(&lock, 0);
    pthread_cond_init(&wake_up, 0);
}

void set_num_threads(int count) {
    static int prepared;
    if (!prepared) prepared = !pthread_atfork(0, 0, forget_workers);
    wanted = count < 1 ? 1 : MIN(count, MAX_THREADS);
    if (places < wanted) places = wanted;
}

int num_threads(void) {
    return wanted;
}

static int pieces_of(long count, double work) {
    const long most = MIN(count, wanted);
    return work < 2 * WORTH_SHARING || most < 2 ? 1 : work < most * WORTH_SHARING ? (int)(work / WORTH_SHARING) : (int)most;
}

// Publish a new job to the threads; those that sleep are woken only if it takes longer than waking them
static void publish(double work) {
    const unsigned now = atomic_load(&number) + 1;
    // all places, so that none is left from a job of more threads
    for (int place = 0; place < places; place++)
        atomic_store_explicit(&begun[place], place < job.pieces ? now - 1 : now, memory_order_relaxed);
    atomic_store(&open_pieces, job.pieces);
    atomic_store(&number, now);
    if (work > WORTH_WAKING && atomic_load(&sleeping)) {
        pthread_mutex_lock(&lock);
        pthread_cond_broadcast(&wake_up);
        pthread_mutex_unlock(&lock);
    }
}

void parallel(Part *part, const void *context, long count, double cost) {
    const int pieces = pieces_of(count, count * cost);
    if (pieces == 1) {
        if (count) part(context, 0, count, 0);
        return;
    }
    start_workers();
    job.part = part, job.context = context, job.count = count, job.pieces = pieces;
    publish(count * cost);
    take_pieces(0, atomic_load(&number));
    for (long spins = 0; atomic_load(&open_pieces); spins++) spins < 20000 ? relax() : (void)sched_yield();
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

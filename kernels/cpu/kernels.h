// Declarations shared by the Python module (module.c), the thread pool (threads.c) and the levels (level_*.c).
#pragma once
#include <stdint.h>

// Counts up with each change of the table below; mpitrain/cpu_kernels.py takes no other build than its own.
#define BUILD 20

// One argument of a kernel as Python gave it: an array (C-contiguous but for kinds s and S) or a number. None is an
// array of no elements at 0.
typedef struct {
    union {
        float *f;
        double *d;
        int64_t *l;
        uint8_t *b;
    };
    long size, ndim;    // elements, dimensions
    const long *dim;    // the shape
    const long *stride; // bytes from item to item of each dimension (kinds s and S only)
    long i;             // an integer
    double x;           // a number
} Arg;

// A kernel returns 1 when it has done its work and 0, with nothing written, where it does not cover the arguments.
typedef int Kernel(const Arg *a);

// The kernels: name, kinds of arguments, their names.
// Kinds: f float32, d float64, l int64, b one byte (bool, uint8); s float32 with any strides; capital: written;
// o float32, p bytes, m int64 or None; i int; x float.
#define KERNELS(K)                                                                                           \
    K(relu, "fF", "x, y")                                                                                    \
    K(relu_dx, "ffF", "y, dy, dx")                                                                           \
    K(add_relu, "ffF", "a, b, y")                                                                            \
    K(add_relu_dx, "fFF", "y, dy, copy")                                                                     \
    K(conv2d, "ffoFiiiii", "x, w, b, y, sh, sw, ph, pw, winograd")                                           \
    K(conv2d_dx, "ffFiiiii", "dy, w, dx, sh, sw, ph, pw, winograd")                                          \
    K(conv2d_dw, "ffFiiiiii", "x, dy, dw, sh, sw, ph, pw, winograd, accumulate")                             \
    K(conv2d_depthwise, "ffoFiiiiii", "x, w, b, y, sh, sw, ph, pw, dil_h, dil_w")                            \
    K(conv2d_depthwise_dx, "ffFiiiiii", "dy, w, dx, sh, sw, ph, pw, dil_h, dil_w")                           \
    K(conv2d_depthwise_dw, "ffFiiiiiii", "x, dy, dw, sh, sw, ph, pw, dil_h, dil_w, accumulate")              \
    K(conv2d_grouped, "ffoFiiiiiii", "x, w, b, y, sh, sw, ph, pw, dil_h, dil_w, groups")                     \
    K(conv2d_grouped_dx, "ffFiiiiiii", "dy, w, dx, sh, sw, ph, pw, dil_h, dil_w, groups")                    \
    K(conv2d_grouped_dw, "ffFiiiiiiii", "x, dy, dw, sh, sw, ph, pw, dil_h, dil_w, groups, accumulate")       \
    K(linear, "ffoFi", "x, w, b, y, relu")                                                                   \
    K(linear_dw, "ffFi", "x, dy, dw, accumulate")                                                            \
    K(linear_dx, "ffF", "dy, w, dx")                                                                         \
    K(column_sum, "fFi", "x, out, accumulate")                                                               \
    K(max_pool_argmax, "fFBiiiii", "padded, y, argmax, KH, KW, sh, sw, relu")                                \
    K(max_pool_dx, "bfFiiii", "argmax, dy, dx, KH, KW, sh, sw")                                              \
    K(batchnorm_statistics, "sDD", "x, mean, squares")                                                       \
    K(batchnorm, "sdddFi", "x, mean, scale, shift, y, relu")                                                 \
    K(batchnorm_sums, "fsdoDD", "dy, x, mean, y, sums, dots")                                                \
    K(batchnorm_dx, "fsdodddF", "dy, x, mean, y, a, b, c, dx")                                               \
    K(cross_entropy, "flxiFFD", "logits, targets, smoothing, ignore_index, e, sums, totals")                 \
    K(cross_entropy_gradient, "FlxioD", "logits, targets, smoothing, ignore_index, weights, totals")         \
    K(softmax_cross_entropy, "flxFFF", "logits, targets, smoothing, e, row_sums, losses")                    \
    K(softmax_cross_entropy_dx, "Fflxp", "e, row_sums, targets, smoothing, counted")                         \
    K(softmax, "fF", "x, y")                                                                                 \
    K(softmax_dx, "ffF", "y, dy, dx")                                                                        \
    K(attention, "sssSFximmiiiiiiiiii",                                                                      \
      "q, k, v, y, log_sum_exp, scale, causal, lengths, segments, threshold, seed, layer, step, row, query, key, length, sample_apart, head_apart")                                                        \
    K(attention_dx, "ssssfSSSximmiiiiiiiiiio",                                                               \
      "dy, q, k, v, log_sum_exp, dq, dk, dv, scale, causal, lengths, segments, threshold, seed, layer, step, row, query, key, length, sample_apart, head_apart, delta")                                                 \
    K(dropout_mask, "Fiiiii", "mask, threshold, seed, layer, step, first")                                   \
    K(layernorm, "fffxFFF", "x, w, b, eps, z, r, y")                                                         \
    K(layernorm_dw, "ffF", "dy, z, sums")                                                                    \
    K(layernorm_dx, "ffffF", "dy, z, r, w, dx")                                                              \
    K(layernorm_backward, "ffffFFFii", "dy, z, r, w, dw, db, dx, adds_dw, adds_db")                          \
    K(rmsnorm, "ffxFF", "x, w, eps, r, y")                                                                   \
    K(rmsnorm_backward, "ffffFFi", "dy, x, r, w, dw, dx, accumulate")                                        \
    K(rotary, "Sfmii", "x, table, positions, offset, back")                                                  \
    K(swiglu, "fF", "x, y")                                                                                  \
    K(swiglu_dx, "ffF", "x, dy, dx")                                                                         \
    K(gelu, "fFF", "x, y, slope")                                                                            \
    K(gelu_tanh, "fFF", "x, y, slope")                                                                       \
    K(gelu_dx, "ffF", "slope, dy, dx")                                                                       \
    K(sigmoid, "fF", "x, y")                                                                                 \
    K(sigmoid_dx, "ffF", "y, dy, dx")                                                                        \
    K(silu, "fFF", "x, s, y")                                                                                \
    K(silu_dx, "fffF", "s, y, dy, dx")                                                                       \
    K(tanh_dx, "ffF", "y, dy, dx")                                                                           \
    K(embedding, "lfF", "ids, w, y")                                                                         \
    K(embedding_dw, "lfF", "ids, dy, dw")                                                                    \
    K(sum_of_squares, "fD", "x, squares")                                                                    \
    K(sum_sources, "lliD", "sources, targets, count, squares")                                               \
    K(sgd_update, "lFFlxxxi", "sources, w, v, bounds, scale, decay, momentum, nesterov")                     \
    K(adagrad_update, "lFFlxxxx", "sources, w, s, bounds, scale, decay, rate, eps")                          \
    K(adam_update, "lFFFlxxxxxxx",                                                                           \
      "sources, w, m, v, bounds, scale, decay, shrink, beta1, beta2, rate, eps")                             \
    K(encode_bf16, "fFBxxx", "x, error, message, inject, keep, inverse")                                     \
    K(decode_bf16, "bFi", "message, y, add")                                                                 \
    K(encode_int8, "fFBxxxi", "x, error, message, inject, keep, inverse, block")                             \
    K(decode_int8, "bFii", "message, y, add, block")                                                         \
    K(encode_fp16, "fFBxxx", "x, error, message, inject, keep, inverse")                                     \
    K(decode_fp16, "bFi", "message, y, add")                                                                 \
    K(encode_sign, "fFBxxx", "x, error, message, inject, keep, inverse")                                     \
    K(decode_sign, "bFi", "message, y, add")                                                                 \
    K(thin_product, "ffFi", "left, right, out, add")                                                         \
    K(largest_places, "fL", "u, places")

enum {
#define K(name, kinds, arguments) KERNEL_##name,
    KERNELS(K)
#undef K
    NUM_KERNELS
};
#define MAX_ARGUMENTS 24

typedef struct {
    const char *name;
    Kernel *kernels[NUM_KERNELS];
} Level;

extern const Level level_baseline, level_avx2, level_avx512;

// threads.c ---------------------------------------------------------------------------------------------------------

// Call part(context, begin, end, piece) for pieces of 0..count on all threads and wait until all are done. ``cost`` is
// the work of one item in nanoseconds, roughly: little work makes one piece. There are at most as many pieces as
// threads, and they do not depend on which thread takes them: the private memory of a part belongs to its piece.
typedef void Part(const void *context, long begin, long end, int piece);
void parallel(Part *part, const void *context, long count, double cost);

// The number of threads that ``parallel`` may use; piece is below it.
int num_threads(void);
void set_num_threads(int count);

// Memory of a piece that lasts until it is asked for again with the same slot (0 to 3): it grows and is never given
// back. 0 where there is no memory.
void *scratch(int piece, int slot, long bytes);

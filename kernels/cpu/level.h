// One level: all kernels, compiled for the instructions and the vector WIDTH that the including file has set. No flag of
// the compiler names a machine, so one binary runs everywhere and module.c picks the level when it is loaded.
#include "kernels.h"
#include "vector.h"

#define KERNEL(name) static int name##_kernel(const Arg *a)
#define COVER(condition) \
    if (!(condition)) return 0

#include "reduce.c"
#include "matmul.c"
#include "elementwise.c"
#include "gelu.c"
#include "swiglu.c"
#include "conv2d.c"
#include "conv2d_depthwise.c"
#include "conv2d_grouped.c"
#include "matmul_large.c"
#include "linear_row.c"
#include "linear.c"
#include "pool.c"
#include "batchnorm.c"
#include "layernorm.c"
#include "rmsnorm.c"
#include "rotary.c"
#include "softmax.c"
#include "softmax_cross_entropy.c"
#include "dropout.c"
#include "attention.c"
#include "embedding.c"
#include "update.c"
#include "compress.c"
#include "thin_product.c"
#include "largest_places.c"

const Level JOIN(level_, LEVEL) = {
    TEXT(LEVEL),
    {
#define K(name, kinds, arguments) name##_kernel,
        KERNELS(K)
#undef K
    },
};

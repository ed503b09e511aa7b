// The types of a product, chosen by macros. INPUT_BF16 0: A and B are fp32 (multiplied as tf32), 1: bf16.
// OUTPUT_BF16 0: C, out and pre are fp32, 1: bf16.
#pragma once
#include "common/numbers.cuh"

#ifndef INPUT_BF16
#define INPUT_BF16 0
#endif
#ifndef OUTPUT_BF16
#define OUTPUT_BF16 0
#endif

using Input = FloatOrBf16<INPUT_BF16>::Type;
using Output = FloatOrBf16<OUTPUT_BF16>::Type;

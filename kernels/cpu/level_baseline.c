// The baseline of x86-64 and arm64: 4 floats in a vector (SSE2, NEON).
#define LEVEL baseline
#define WIDTH 4
#include "level.h"

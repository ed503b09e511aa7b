// What every x86-64 and every arm64 has: 4 floats in a vector (SSE2, NEON).
#define LEVEL baseline
#define WIDTH 4
#include "level.h"

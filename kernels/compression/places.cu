// Elements at some places of an array: gathered, put back or added, cleared
// Shapes: u, y (n,) float; places (k,) int32, each at most once; values (k,) float
// Launch: block 256, any grid
// Roofline: a sector of 32 bytes for each element, and 8 bytes; memory-bound. Oracle: ops/places.py.
#include "compression/feedback.cuh"

extern "C" __global__ void take_places(const float* u, const int* places, float* values, float factor, int k) {
  for_each_across(k, [&](int i) { values[i] = rounded_product(u[places[i]], factor); });
}

extern "C" __global__ void put_places(float* y, const int* places, const float* values, int add, int k) {
  for_each_across(k, [&](int i) {
    float* to = y + places[i];
    *to = add ? rounded_sum(*to, values[i]) : values[i];
  });
}

extern "C" __global__ void clear_places(float* u, const int* places, int k) {
  for_each_across(k, [&](int i) { u[places[i]] = 0; });
}

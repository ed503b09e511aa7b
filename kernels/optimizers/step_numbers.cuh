// Numbers of a step in memory, for updates that are queued before the host knows them: float[0] is 0 where the step is
// left out, the next ones stand for arguments of a kernel (step_numbers.cu).
#pragma once

__device__ __forceinline__ bool left_out(const float* numbers) { return numbers && numbers[0] == 0; }

// Replace arguments by the numbers, in their order, if there are some.
template <int N>
__device__ __forceinline__ void take(const float* numbers, float* const (&arguments)[N]) {
  if (!numbers) return;
#pragma unroll
  for (int i = 0; i < N; i++) *arguments[i] = numbers[1 + i];
}

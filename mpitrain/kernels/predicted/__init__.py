"""Predicted times of kernels, from counts of instructions and bytes: a measurement is to prove them wrong."""

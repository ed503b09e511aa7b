"""Benchmarks of products on a GPU against cuBLAS: the planner's table, the ladder, and the shapes of training."""

"""Products timed on a GPU beside cuBLAS: the planner's table, the ladder, and the shapes of training."""

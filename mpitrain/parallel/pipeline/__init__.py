"""Pipeline parallelism: each rank of an axis has some layers, and microbatches pass from one to the next."""

"""Pipeline parallelism: a model cut into stages, each on one rank."""

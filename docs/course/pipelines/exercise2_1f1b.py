"""Exercise 2: the same bubble with less memory. This starter is GPipe: every rank holds all microbatches."""

from collections.abc import Iterator

from mpitrain.pipelines import Task, pipeline


@pipeline(
    bubble=lambda size, num_microbatches: (size - 1) / (num_microbatches + size - 1),
    live=lambda rank, size, num_microbatches: min(num_microbatches, size - rank),
)
def one_f_one_b(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
    """1F1B: rank r holds at most P - r microbatches."""
    for i in range(num_microbatches):
        yield Task("F", rank, i)
    for i in range(num_microbatches):
        yield Task("B", rank, i)

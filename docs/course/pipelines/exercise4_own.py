"""Exercise 4: your own, under a memory limit. It starts as 1F1B with backward in two tasks, B and right after it W."""

from collections.abc import Iterator

from mpitrain.pipelines import Task, pipeline


@pipeline(
    bubble=lambda size, num_microbatches: (
        1.0 if num_microbatches < size else (size - 1) / (3 * num_microbatches + size - 1)
    ),
    live=lambda size, num_microbatches: min(num_microbatches, size),
)
def own(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
    """No rank holds more than P microbatches. The promised bubble is for M >= P."""
    warmup = min(num_microbatches, size - 1 - rank)
    for i in range(num_microbatches + warmup):
        if i < num_microbatches:
            yield Task("F", rank, i)
        if i >= warmup:
            yield Task("B", rank, i - warmup)
            yield Task("W", rank, i - warmup)

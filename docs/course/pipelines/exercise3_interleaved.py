"""Exercise 3: several stages on each rank, and a shorter bubble. Here the stages of a rank follow each other."""

from collections.abc import Iterator

from mpitrain.pipelines import Task, pipeline


@pipeline(
    bubble=lambda size, num_microbatches, chunks: (
        1.0 if num_microbatches % size else (size - 1) / (chunks * num_microbatches + size - 1)
    ),
    live=lambda rank, size, num_microbatches, chunks: (
        num_microbatches if num_microbatches % size else ((chunks - 1) * size + 2 * (size - 1 - rank) + 1) / chunks
    ),
)
def interleaved(rank: int, size: int, num_microbatches: int, chunks: int = 2) -> Iterator[Task]:
    """1F1B with V = ``chunks`` stages on each rank. The promises are for M that is a multiple of P."""
    order = [(chunk, i) for i in range(num_microbatches) for chunk in range(chunks)]
    forward = [Task("F", rank * chunks + chunk, i) for chunk, i in order]
    backward = [Task("B", rank * chunks + chunks - 1 - chunk, i) for chunk, i in order]
    warmup = min(len(order), chunks * (size - 1 - rank) + chunks - 1)
    yield from forward[:warmup]
    for k in range(len(order) - warmup):
        yield forward[warmup + k]
        yield backward[k]
    yield from backward[len(order) - warmup :]

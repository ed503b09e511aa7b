"""Solutions of the four exercises (there are others)."""

from collections.abc import Iterator

from mpitrain.pipelines import Task, pipeline


@pipeline(bubble=lambda size, num_microbatches: (size - 1) / (num_microbatches + size - 1))
def gpipe(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
    """Exercise 1: two loops instead of one."""
    for i in range(num_microbatches):
        yield Task("F", rank, i)
    for i in range(num_microbatches):
        yield Task("B", rank, i)


@pipeline(
    bubble=lambda size, num_microbatches: (size - 1) / (num_microbatches + size - 1),
    live=lambda rank, size, num_microbatches: min(num_microbatches, size - rank),
)
def one_f_one_b(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
    """Exercise 2: B of a microbatch comes as many F later as there are ranks behind this one."""
    warmup = min(num_microbatches, size - 1 - rank)
    for i in range(warmup):
        yield Task("F", rank, i)
    for i in range(num_microbatches - warmup):
        yield Task("F", rank, warmup + i)
        yield Task("B", rank, i)
    for i in range(num_microbatches - warmup, num_microbatches):
        yield Task("B", rank, i)


@pipeline(
    bubble=lambda size, num_microbatches, chunks: (
        1.0 if num_microbatches % size else (size - 1) / (chunks * num_microbatches + size - 1)
    ),
    live=lambda rank, size, num_microbatches, chunks: (
        num_microbatches if num_microbatches % size else ((chunks - 1) * size + 2 * (size - 1 - rank) + 1) / chunks
    ),
)
def interleaved(rank: int, size: int, num_microbatches: int, chunks: int = 2) -> Iterator[Task]:
    """Exercise 3: groups of P microbatches go through the chunks; where P does not divide M, there is one group."""
    group = num_microbatches if num_microbatches % size else size
    order = [
        (chunk, first + i)
        for first in range(0, num_microbatches, group)
        for chunk in range(chunks)
        for i in range(group)
    ]
    forward = [Task("F", chunk * size + rank, i) for chunk, i in order]
    backward = [Task("B", (chunks - 1 - chunk) * size + rank, i) for chunk, i in order]
    warmup = min(len(order), (chunks - 1) * group + 2 * (size - 1 - rank))
    yield from forward[:warmup]
    for k in range(len(order) - warmup):
        yield forward[warmup + k]
        yield backward[k]
    yield from backward[len(order) - warmup :]


@pipeline(
    bubble=lambda size, num_microbatches: (
        1.0 if num_microbatches < size else (size - 1) / (3 * num_microbatches + size - 1)
    ),
    live=lambda size, num_microbatches: min(num_microbatches, size),
)
def own(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
    """Exercise 4, ZB-H1: rank r is r W behind, and works them off where it would wait for a gradient."""
    warmup = min(num_microbatches, size - 1 - rank)
    for i in range(num_microbatches + size - 1):
        if i < num_microbatches:
            yield Task("F", rank, i)
        if 0 <= i - warmup < num_microbatches:
            yield Task("B", rank, i - warmup)
        if 0 <= i - warmup - rank < num_microbatches:
            yield Task("W", rank, i - warmup - rank)

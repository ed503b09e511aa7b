"""GPipe."""

from collections.abc import Iterator

from ..pipeline import pipeline
from ..task import Task


@pipeline(
    bubble=lambda size, num_microbatches: (size - 1) / (num_microbatches + size - 1),
    live=lambda num_microbatches: num_microbatches,
)
def gpipe(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
    """All forwards, then all backwards: simple, and every rank holds all microbatches.

    Bubble: (P-1) / (M+P-1).
    Live: M.
    Source: Huang et al. 2019, "GPipe: efficient training of giant neural networks using pipeline parallelism"
    (arXiv 1811.06965).
    """
    yield from (Task("F", rank, i) for i in range(num_microbatches))
    yield from (Task("B", rank, i) for i in range(num_microbatches))

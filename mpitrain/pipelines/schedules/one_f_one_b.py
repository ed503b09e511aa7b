"""1F1B."""

from collections.abc import Iterator

from ..pipeline import pipeline
from ..task import Task


@pipeline(
    bubble=lambda size, num_microbatches: (size - 1) / (num_microbatches + size - 1),
    live=lambda rank, size, num_microbatches: min(num_microbatches, size - rank),
)
def one_f_one_b(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
    """One forward, one backward in turn, once the pipeline is full: memory for P microbatches, however many there are.

    Bubble: (P-1) / (M+P-1), that of GPipe.
    Live: min(M, P-r) on rank r.
    Source: Narayanan et al. 2019, "PipeDream: generalized pipeline parallelism for DNN training"; with a flush after
    each step, Narayanan et al. 2021 (arXiv 2006.09503).
    """
    warmup = min(num_microbatches, size - 1 - rank)
    yield from (Task("F", rank, i) for i in range(warmup))
    for i in range(num_microbatches - warmup):
        yield Task("F", rank, warmup + i)
        yield Task("B", rank, i)
    yield from (Task("B", rank, i) for i in range(num_microbatches - warmup, num_microbatches))

"""Exercise 1: microbatches through a pipeline. This starter is right, but at any time only one rank works."""

from collections.abc import Iterator

from mpitrain.pipelines import Task, pipeline


@pipeline(bubble=lambda size, num_microbatches: (size - 1) / (num_microbatches + size - 1))
def gpipe(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
    """GPipe: the tasks of one rank, which has the stage of its own number."""
    for i in range(num_microbatches):
        yield Task("F", rank, i)
        yield Task("B", rank, i)

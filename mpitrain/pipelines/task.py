"""Tasks of a pipeline schedule: the work of one rank, in its order."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

KINDS = "FBW"


class Task(NamedTuple):
    """One piece of work: forward or backward of one microbatch on one stage.

    Messages are not written, they follow from the tasks: F needs the output of F on the stage before, B the gradient
    from B on the stage after and what F on its own stage has kept, W its own B.

    Attributes
    ----------
    kind : str
        "F", forward. "B", backward: the gradient with respect to the input (dx) and, in a schedule without W, to the
        weights (dw). "W", dw alone.
    stage : int
        Part of the model, from 0 for the first layers.
    microbatch : int
        From 0.
    """

    kind: str
    stage: int
    microbatch: int

    def __str__(self) -> str:
        return f"{self.kind} of microbatch {self.microbatch} on stage {self.stage}"


Schedule = Callable[[int, int, int], Iterator[Task]]
"""A pipeline schedule: ``schedule(rank, size, num_microbatches)`` yields the tasks of one rank."""

"""One way to divide a training among ranks."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

ORDER = ("data", "pipe", "space", "context", "tensor", "expert")  # as comm/axes.py, the outermost first
Again = Literal["off", "blocks", "stage"]


@dataclass(frozen=True)
class Strategy:
    """Mesh, schedule, microbatches, sharding and recomputation.

    Attributes
    ----------
    data, pipe, space, context, tensor, expert : int
        Ranks on each axis. Samples are divided among data x expert.
    schedule : str
        Of the pipeline.
    chunks : int
        Stages of each rank of the pipeline.
    microbatches : int
    shard : int
        Stage of ZeRO: 0 none, 1 the optimizer's state, 2 gradients too, 3 weights too.
    again : {"off", "blocks", "stage"}
        Results that are computed again in backward.
    sequence : bool
        Axis tensor divides the tokens between its layers, too.
    """

    data: int = 1
    pipe: int = 1
    space: int = 1
    context: int = 1
    tensor: int = 1
    expert: int = 1
    schedule: str = "1f1b"
    chunks: int = 1
    microbatches: int = 1
    shard: int = 0
    again: Again = "off"
    sequence: bool = False

    @cached_property
    def ranks(self) -> int:
        """Number of all ranks."""
        return prod(getattr(self, axis) for axis in ORDER)

    @property
    def stages(self) -> int:
        """Stages of the pipeline."""
        return self.pipe * self.chunks

    @property
    def mesh(self) -> dict[str, int]:
        """Axes with several ranks; data alone if there is none."""
        return {axis: getattr(self, axis) for axis in ORDER if getattr(self, axis) > 1} or {"data": 1}

    @property
    def mesh_text(self) -> str:
        """The mesh as ``--mesh`` takes it.

        >>> Strategy(data=2, tensor=4).mesh_text
        'data=2,tensor=4'
        """
        return ",".join(f"{axis}={size}" for axis, size in self.mesh.items())

    def stride(self, axis: str) -> int:
        """Return the distance of neighbors on an axis, in ranks.

        >>> Strategy(data=2, pipe=4, tensor=8).stride("pipe")
        8
        """
        return prod(getattr(self, inner) for inner in ORDER[ORDER.index(axis) + 1 :])

    @property
    def complexity(self) -> int:
        """Number of axes with several ranks, stages of ZeRO and other extras: of equals, the simplest wins."""
        return len(self.mesh) + self.shard + (self.chunks > 1) + (self.schedule != "1f1b") + (self.again != "off")

    @property
    def schedule_text(self) -> str:
        """Name of the schedule with its options, as ``--pipeline`` takes it."""
        return f"{self.schedule}:chunks={self.chunks}" if self.chunks > 1 else self.schedule

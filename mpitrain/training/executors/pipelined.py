"""Execution of a step by the stages of a pipeline."""

from collections.abc import Sequence

from ...arena import Arena
from ...data.loader import Batch
from ...parallel.pipeline.runner import PipelineRunner
from ...parallel.virtual_shards import VirtualShards


class PipelineExecutor:
    """Computes the microbatches of a step in the order of a schedule.

    Parameters
    ----------
    runner : PipelineRunner
    arena : Arena
    shards : VirtualShards, optional
        Adds the gradients of the microbatches in a fixed tree (``--reproducible``).
    """

    def __init__(self, runner: PipelineRunner, arena: Arena, shards: VirtualShards | None = None):
        self._runner, self._arena, self._shards = runner, arena, shards

    def num_passes(self, batches: Sequence[Batch]) -> int:
        """Return the number of writes of each gradient: one for each microbatch, or one of their sum."""
        return len(batches) if self._shards is None else 1

    def run(self, batches: Sequence[Batch], step: int) -> None:
        """Compute the gradients of this rank's stages."""
        if self._shards is None:
            self._runner.run(batches, step, self._arena.add_totals)
            return
        with self._shards.summing() as hand_on:
            self._runner.run(batches, step, self._shards.add)
            hand_on()

"""Elastic training: after the loss of ranks the survivors agree on a step, go back to its start and repeat it.

An all-reduce may have ended on some ranks and failed on others, so some have made the step and some have not, and those
that have may have begun the next one. They are never further apart, since no step ends without all ranks: each keeps
copies of what it had before its last two steps (``hooks.snapshots``). The samples of the step and of all that follow
are divided again, among fewer ranks: what an epoch takes, and in which order, depends on the seed alone, so none is
lost and none is used twice.
"""

import time
from collections.abc import Callable
from typing import Any

from ..comm.elastic import Failure, shrink
from ..comm.world import World
from .hooks.checkpoints import Checkpoints
from .hooks.snapshots import StepSnapshots
from .loop import TrainingLoop

Rebuild = Callable[[World, TrainingLoop], TrainingLoop]


def train_elastically(loop: TrainingLoop, work: Callable[[TrainingLoop], Any], rebuild: Rebuild) -> TrainingLoop:
    """Run ``work`` on a loop, and on a new one after each loss of ranks; return the last loop.

    Parameters
    ----------
    work : callable(TrainingLoop)
        All that the ranks do together; it can be begun again.
    rebuild : callable(World, TrainingLoop) -> TrainingLoop
        Makes the loop of a smaller world out of the one before.
    """
    failure: BaseException | None = None
    losses = list(loop.run.losses)
    while True:
        try:
            if failure is not None:
                loop = _after(failure, loop, rebuild, losses)
                failure = None
            work(loop)
            return loop
        except Failure as error:
            failure = error


def _after(failure: BaseException, loop: TrainingLoop, rebuild: Rebuild, losses: list[dict[str, Any]]) -> TrainingLoop:
    begin, run = time.perf_counter(), loop.run
    snapshots = loop.hooks.one(StepSnapshots)
    assert snapshots is not None
    reached = snapshots.last_complete()
    writer = loop.hooks[Checkpoints].writer
    if writer is not None:
        writer.abandon()
    before = run.world
    world, all_reached, lost = shrink(before, reached)
    if not lost and world.size == before.size:  # every rank is there: something else went wrong
        raise RuntimeError("an operation of MPI failed, though no rank was lost") from failure
    step, evaluations, epoch = min(all_reached)
    snapshots.go_back_to(step, evaluations, epoch)
    run.world = world  # if another rank is lost while the new loop is made, this is where to begin from
    before.watch(0)
    world.watch(run.config.parallel.timeout)
    losses.append({"ranks": lost, "step": step + 1, "epoch": epoch, "ranks_left": world.size})
    new = rebuild(world, loop)
    losses[-1]["seconds"] = round(time.perf_counter() - begin, 3)
    new.run.losses = losses
    world.first_step_done()
    return new

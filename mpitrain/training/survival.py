"""Training goes on when ranks are lost: the survivors agree on a step, go back to its beginning and do it again.

An all-reduce may have ended on some ranks and failed on others, so some have made the step and some have not, and those
that have may have begun the next one. They are never further apart, since no step ends without all ranks: each keeps
copies of what it had before its last two steps. The samples of the step and of all that follow are dealt again, to
fewer ranks: what an epoch takes, and in which order, depends on the seed alone, so none is lost and none is used twice.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..comm.elastic import Failure, shrink
from ..comm.world import World
from .checkpoint.state import Snapshot
from .position import Position

if TYPE_CHECKING:
    from .trainer import Trainer

Rebuild = Callable[["World", "Trainer"], "Trainer"]


class Moment:
    """A trainer's state before one of its steps."""

    def __init__(self, trainer: "Trainer"):
        self._trainer, self._snapshot = trainer, Snapshot(trainer.state)
        self.keep()

    def keep(self) -> None:
        """Keep the state as it is."""
        self._snapshot.take()
        self.step, self.position = self._trainer.step, _copy(self._trainer.position)

    def restore(self) -> None:
        """Make the trainer what it was."""
        trainer = self._trainer
        self._snapshot.restore()
        trainer.step, trainer.position = self.step, _copy(self.position)
        trainer.stopped = trainer.left = False


class Rescue:
    """What a trainer keeps to go back to: the moments before the step that it is in, and before the last one."""

    def __init__(self, trainer: "Trainer"):
        self._trainer = trainer
        self._before_last, self._before_this = Moment(trainer), Moment(trainer)
        self._epoch_end: Position | None = None

    def take(self) -> None:
        """Keep the state as it is: a step begins."""
        self._before_last, self._before_this = self._before_this, self._before_last
        self._before_this.keep()

    def epoch_ends(self) -> None:
        """Keep the position as it is: the epoch will be over."""
        self._epoch_end = _copy(self._trainer.position)

    def place(self) -> tuple[int, int]:
        """Return how many steps and epochs this rank has made, after forgetting one that it has not finished."""
        trainer, before = self._trainer, self._before_this
        here, there = trainer.position, before.position
        if trainer.step == before.step or (here.epoch, here.steps) == (there.epoch, there.steps):
            before.restore()
        return trainer.step, trainer.position.epoch

    def meet(self, step: int, epoch: int) -> None:
        """Go back to where all survivors are."""
        trainer = self._trainer
        if trainer.step > step:
            next(moment for moment in (self._before_this, self._before_last) if moment.step == step).restore()
        if trainer.position.epoch > epoch and self._epoch_end is not None:
            trainer.position = _copy(self._epoch_end)
        trainer.record.forget_after(epoch - 1)
        assert (trainer.step, trainer.position.epoch) == (step, epoch)


def survive(trainer: "Trainer", work: Callable[["Trainer"], Any], rebuild: Rebuild) -> "Trainer":
    """Do ``work`` on a trainer, and again on a new one for as long as ranks are lost; return the last.

    Parameters
    ----------
    work : callable(Trainer)
        All that the ranks do together; it can be begun again.
    rebuild : callable(World, Trainer) -> Trainer
        Makes the trainer of a smaller world out of the one before.
    """
    failure: BaseException | None = None
    losses = list(trainer.losses)
    while True:
        try:
            if failure is not None:
                trainer = _after(failure, trainer, rebuild, losses)
                failure = None
            work(trainer)
            return trainer
        except Failure as error:
            failure = error


def _after(failure: BaseException, trainer: "Trainer", rebuild: Rebuild, losses: list[dict[str, Any]]) -> "Trainer":
    begin = time.perf_counter()
    assert trainer.rescue is not None
    place = trainer.rescue.place()
    if trainer.writer is not None:
        trainer.writer.abandon()
    before = trainer.world
    world, places, lost = shrink(before, place)
    if not lost and world.size == before.size:  # every rank is there: something else went wrong
        raise RuntimeError("an operation of MPI failed, though no rank was lost") from failure
    step, epoch = min(places, key=lambda place: (place[0], place[1]))
    trainer.rescue.meet(step, epoch)
    trainer.world = world  # if another rank is lost while the new trainer is made, this is where to begin from
    before.watch(0)
    world.watch(trainer.config.parallel.timeout)
    losses.append({"ranks": lost, "step": step + 1, "epoch": epoch, "ranks_left": world.size})
    new = rebuild(world, trainer)
    losses[-1]["seconds"] = round(time.perf_counter() - begin, 3)
    new.losses = losses
    world.first_step_done()
    return new


def _copy(position: Position) -> Position:
    return dataclasses.replace(position, totals=position.totals.copy())

"""The work of one rank in a sweep: trials one after the other, with the other ranks of its group."""

import contextlib
import dataclasses
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...comm.made import Made
from ...comm.parts import Part
from ...comm.world import World
from ...errors import AgreedError, UserError
from ...sweeps.plan import Trial, config_of
from ...sweeps.spec import SweepSpec
from ...sweeps.state import FAILED, INTERRUPTED, TIMED_OUT, TrialState
from ...sweeps.work import Decide, Work
from ..checkpoint.folder import newest_first
from ..control import ControlRequest
from ..directory.run_directory import CHECKPOINTS
from .book import Book, finite, now
from .guard import Guard, TrialEnded
from .inherit import inherit
from .run import Objective, Outcome, run_trial

LISTEN = 0.2  # seconds between two looks at whether the sweep is to end

Signals = Callable[[], ControlRequest]


@dataclasses.dataclass(frozen=True)
class Crew:
    """One rank of a group.

    Parameters
    ----------
    world : World
        The job.
    part : Part
        The group.
    number : int
        Number of the group.
    spec : SweepSpec
    trials : sequence of Trial
    directory : Path
        Of the sweep.
    book : Book
    decide : callable(SweepState) -> Work or str
    signals : callable() -> ControlRequest
    on_end : callable(Trial, TrialState)
        Called on the first rank of the group when a trial has ended, or a part of one.
    """

    world: World
    part: Part
    number: int
    spec: SweepSpec
    trials: Sequence[Trial]
    directory: Path
    book: Book
    decide: Decide
    signals: Signals
    on_end: Callable[[Trial, TrialState], None]

    def work(self) -> None:
        """Do what there is to do, until there is nothing any more or the sweep is to end."""
        token = 0
        while True:
            work = self.book.take(self.decide, self._begin, self._asked_to_stop) if self.part.rank == 0 else None
            used = 0.0 if work is None else self.book.state.trials[work.trial].seconds
            work, used = self.part.share((work, used))
            if work is None:
                return
            token += 1
            self._do(work, token, max(0.001, self.spec.timeout - used) if self.spec.timeout else 0.0)
            gc.collect()

    def path_of(self, number: int, life: int) -> Path:
        """Return the directory of the run of a trial."""
        return trial_path(self.directory, self.spec, len(self.trials), number, life)

    def _begin(self, work: Work) -> tuple[Work, dict[str, Any]]:
        """Prepare the directory of a work; return the work and its event."""
        path = self.path_of(work.trial, work.life)
        before = self.book.state.trials[work.trial]
        if work.life != before.life:
            parent = self.book.state.trials[work.parent]
            taken = inherit(self.path_of(parent.number, parent.life), parent.step, path)
            if not taken:  # removed by hand, or since the parent was interrupted many times: the member goes on alone
                work = dataclasses.replace(work, life=before.life, parent=before.parent, values=before.values)
                path = self.path_of(work.trial, work.life)
        newest = newest_first(path / CHECKPOINTS)[:1]
        event: dict[str, Any] = {"event": "start", "trial": work.trial, "rank": self.world.rank, "time": now()}
        event |= {"step": int(newest[0].stem.partition("-")[2]) if newest else 0, "until": work.until}
        if work.parent >= 0:
            event |= {"life": work.life, "parent": work.parent, "values": dict(work.values or {})}
        return work, event

    def _do(self, work: Work, token: int, seconds: float) -> None:
        """Run a part of a trial within so many seconds (0: without limit), and write how it has ended."""
        begin, broken = time.perf_counter(), True
        made = Made()
        guard = Guard(
            self.spec.timeout,
            seconds,
            lambda: self.part.size > 1 and self.book.has_failed(self.number, token),
            lambda status, reason: self._give_up(work, status, reason, begin),
        )
        try:
            with made, guard:
                outcome = self._train(work, guard)
            if outcome.status == INTERRUPTED and guard.time_is_up:
                outcome = dataclasses.replace(outcome, status=TIMED_OUT, reason=guard.too_long)
            elif outcome.status == INTERRUPTED:  # also where the batch system ends the job
                self.book.stop()
            broken = False
        except TrialEnded as end:
            outcome = Outcome(end.status, reason=end.reason)
        except AgreedError as error:
            outcome, broken = Outcome(FAILED, reason=str(error)), False
        except (Exception, SystemExit) as error:
            outcome, broken = Outcome(FAILED, reason=_say(error)), self.part.size > 1
            if self.part.size > 1:
                outcome = dataclasses.replace(outcome, reason=f"rank {self.part.rank} of the trial: {outcome.reason}")
        finally:
            guard.close()
        self._write(work, outcome, begin, first=self.part.rank == 0 or broken)
        if broken and self.part.size > 1:
            self.book.fail(self.number, token)
        if not broken:
            made.free()
        elif self.part.size > 1:
            self.part.renew()

    def _train(self, work: Work, guard: Guard) -> Outcome:
        trial = self.trials[work.trial]
        path = self.path_of(work.trial, work.life)
        world = self.part.world(lambda text: guard.end(FAILED, _first_line(text)))
        try:
            with world.together():
                config = config_of(self.spec, trial, work.values)
                config = dataclasses.replace(config, run=dataclasses.replace(config.run, out=str(path)))
            if not config.parallel.threads:
                parallel = dataclasses.replace(config.parallel, threads=max(1, self.world.cores))
                config = dataclasses.replace(config, parallel=parallel)
            objective = Objective(self.spec.metric, self.spec.larger_is_better, latest=self.spec.method == "pbt")
            control = self._control(guard)
            return run_trial(config, world, objective, until=work.until, control=control)
        finally:
            world.close()

    def _asked_to_stop(self) -> bool:
        asked = self.signals()
        return asked.stop or asked.preempt

    def _control(self, guard: Guard) -> Signals:
        """Return the requests to a trial: to leave with a checkpoint, where its time or the sweep is over."""
        looked, stopping = 0.0, False

        def control() -> ControlRequest:
            nonlocal looked, stopping
            if not stopping and self._asked_to_stop():
                stopping = True
                self.book.stop()
            if time.monotonic() - looked > LISTEN:
                looked, stopping = time.monotonic(), stopping or self.book.stopping
            return ControlRequest(preempt=stopping or guard.time_is_up)

        return control

    def _write(self, work: Work, outcome: Outcome, begin: float, *, first: bool) -> None:
        """Write the end of a work, on the first rank of the group, or on the first one that has failed."""
        if not first:
            return
        value = outcome.scores.get(self.spec.metric, float("nan"))
        event: dict[str, Any] = {"event": "end", "trial": work.trial, "status": outcome.status, "time": now()}
        event |= {"value": finite(value), "seconds": round(time.perf_counter() - begin, 3), "reason": outcome.reason}
        if outcome.step:
            event |= {"step": outcome.step, "epoch": outcome.epoch}
            event |= {"scores": dict(outcome.scores), "test": dict(outcome.test)}
        if self.book.end(event):
            self.on_end(self.trials[work.trial], self.book.state.trials[work.trial])

    def _give_up(self, work: Work, status: str, reason: str, begin: float) -> None:
        """End the job, since a trial cannot be ended by itself; it will not be tried again."""
        text = f"{reason}, and cannot be ended: it hangs in code that does not return to Python, or catches everything"
        with contextlib.suppress(UserError):
            self._write(work, Outcome(status, reason=text), begin, first=True)
        name = self.path_of(work.trial, work.life).name
        print(f"mpitrain: {name}: {text}; the sweep ends, and --resume continues without it", file=sys.stderr)
        with contextlib.suppress(Exception):
            self.world.abort(1)
        os._exit(1)


def trial_path(directory: Path, spec: SweepSpec, count: int, number: int, life: int = 0) -> Path:
    """Return the directory of the run of a trial; trials are numbered from 1 in names."""
    name = f"{spec.name}-{number + 1:0{len(str(count))}d}"
    return directory / (f"{name}-{life + 1}" if life else name)


def _say(error: BaseException) -> str:
    """Return an error in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    if isinstance(error, MemoryError):
        return f"out of memory ({text})" if text else "out of memory"
    if isinstance(error, SystemExit):
        return "its code called sys.exit()"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _first_line(text: str) -> str:
    return text.splitlines()[0].removeprefix("mpitrain: ")


def used_values(state: TrialState, trial: Trial) -> Mapping[str, Any]:
    """Return the values of a trial, which may have changed while it trained."""
    return trial.values if state.values is None else state.values

"""A sweep on all ranks of a job: its directory, its groups, and its end."""

import dataclasses
import secrets
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...comm.parts import Part, parts_of
from ...comm.world import World
from ...data.files import write_atomically
from ...errors import UserError
from ...sweeps import journal
from ...sweeps.methods import make_method
from ...sweeps.plan import Trial, plan
from ...sweeps.spec import SweepSpec, make_spec
from ...sweeps.state import Event, SweepState, TrialState
from ..control import ControlRequest
from ..devices import share_devices
from ..directory.ownership import Ownership
from .book import EVENTS_OF_A_TRIAL, Book
from .crew import Crew

JOURNAL, SPEC = "journal.jsonl", "sweep.toml"
NEVER = 1e9  # seconds: ranks that have no work wait for others as long as it takes, but notice one that is lost

OnEnd = Callable[[SweepState, Trial, TrialState], None]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep and its state.

    Attributes
    ----------
    spec : SweepSpec
    trials : list of Trial
    state : SweepState
    directory : Path
    stopped : bool
        True if it was ended on request before all trials were over.
    """

    spec: SweepSpec
    trials: list[Trial]
    state: SweepState
    directory: Path
    stopped: bool = False


def open_sweep(spec: SweepSpec, directory: Path) -> Sweep:
    """Return a sweep as its journal tells, without changing anything; new if there is none.

    Raises
    ------
    UserError
        If the journal is damaged or that of another sweep.
    """
    trials = plan(spec)
    state = SweepState(len(trials), larger_is_better=spec.larger_is_better)
    path = directory / JOURNAL
    if path.exists():
        head, events = journal.read(path)
        _check_same(spec, head, directory)
        state.apply(events)
    return Sweep(spec, trials, state, directory)


def run_sweep(
    spec: SweepSpec,
    world: World,
    directory: Path,
    *,
    resume: bool = False,
    signals: Callable[[], ControlRequest],
    on_end: OnEnd,
    note: Callable[[str], None],
) -> Sweep:
    """Run the trials of a sweep that are not over, on all ranks (collective).

    Parameters
    ----------
    resume : bool
        Continue the sweep in ``directory`` if there is one.
    signals : callable() -> ControlRequest
        Called in every step of a trial; a request to stop or to preempt ends the sweep, with checkpoints.
    on_end : callable(SweepState, Trial, TrialState)
        Called on one rank when a trial, or a part of one, has ended.
    note : callable(str)
        Told what a user should know, on rank 0.

    Raises
    ------
    AgreedError
        On all ranks, if the directory is in use, holds an earlier sweep that is not to be resumed or another one, or
        cannot be written; or if a trial needs more ranks than there are.
    """
    with world.together():
        trials = plan(spec)
        method = make_method(spec, trials)
        if spec.ranks_per_trial > world.size:
            raise UserError(f"ranks-per-trial is {spec.ranks_per_trial}, but the job has {world.size} ranks")
    owner = Ownership(world.all_gather(secrets.token_hex(8))[0])
    with owner:
        past = _enter(spec, world, directory, owner, resume=resume)
        world.watch(NEVER)
        share_devices(spec.default, world)
        parts = parts_of(world, spec.ranks_per_trial)
        if world.rank == 0 and (rest := world.size % spec.ranks_per_trial):
            note(f"{rest} of {world.size} ranks have no trial: a trial takes {spec.ranks_per_trial}")
        state = SweepState(len(trials), larger_is_better=spec.larger_is_better)
        events = _most_events(spec)
        book = Book(world, state, directory / JOURNAL, past, parts=len(parts), events=events)
        number = next((i for i, members in enumerate(parts) if world.rank in members), None)
        if number is not None:
            part = Part(world, parts[number])

            def ended(trial: Trial, of: TrialState) -> None:
                on_end(state, trial, of)

            Crew(world, part, number, spec, trials, directory, book, method, signals, ended).work()
        stopped = book.stopping
        book.catch_up()
        book.close()
        with world.together():
            if world.rank == 0:  # what others have written since this rank read last
                state = open_sweep(spec, directory).state
    return Sweep(spec, trials, state, directory, stopped)


def _enter(spec: SweepSpec, world: World, directory: Path, owner: Ownership, *, resume: bool) -> list[Event]:
    """Own the directory, and return the events of the sweep there, the same on all ranks."""
    past: list[Event] = []
    with world.together():
        if world.rank == 0:
            owner.take(directory)
            path = directory / JOURNAL
            if path.exists():
                if not resume:
                    how = "continue it with --resume, choose another --out or remove it"
                    raise UserError(f"{directory} holds an earlier sweep: {how}")
                journal.repair(path)
                head, past = journal.read(path)
                _check_same(spec, head, directory)
            else:
                journal.create(path, {"name": spec.name, "spec": spec.text})
            write_atomically(directory / SPEC, spec.text)
    found: list[Event] = world.all_gather(past if world.rank == 0 else None)[0]
    return found


def _check_same(spec: SweepSpec, head: dict[str, Any], directory: Path) -> None:
    """Raise a UserError if the sweep in a directory is another one; its timeout may differ."""
    if head.get("spec") == spec.text:
        return
    before = make_spec(tomllib.loads(str(head.get("spec", ""))), spec.name, spec.text, f"{directory / SPEC}")
    for field in dataclasses.fields(SweepSpec):
        if field.name not in ("timeout", "default") and getattr(before, field.name) != getattr(spec, field.name):
            raise UserError(
                f"{directory} holds a sweep with another {NAMES.get(field.name, field.name)}: give it the file that it "
                f"began with ({directory / SPEC}), or choose another --out"
            )


NAMES = {"base": "[train] table", "larger_is_better": "direction", "parameters": "[parameters] table"}


def _most_events(spec: SweepSpec) -> int:
    """Return how many events a trial may have in this job, on average."""
    if not spec.by_epochs:
        return EVENTS_OF_A_TRIAL
    if spec.method == "asha":  # of the series 1 + 1/reduction + ... no more than twice as many
        return 2 * EVENTS_OF_A_TRIAL
    epochs = spec.config(spec.first_values()).run.epochs
    return EVENTS_OF_A_TRIAL + 4 * -(-epochs // spec.interval)


def summary(states: Sequence[TrialState]) -> str:
    """Return how many trials have which status: "30 finished, 1 failed, 1 timed out"."""
    counts: dict[str, int] = {}
    for state in states:
        counts[state.status] = counts.get(state.status, 0) + 1
    return ", ".join(f"{number:,} {status}" for status, number in counts.items())

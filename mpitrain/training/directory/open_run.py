"""The directory of a run that begins or is resumed: its owner, its checkpoint, and its files open for writing."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ...comm.world import World
from ...config import Config, Run
from ...data.files import write_atomically
from ...data.matching.signature import Signature
from ...errors import UserError
from ..checkpoint import Checkpoint
from ..checkpoint.folder import newest_first, remove_unfinished
from ..hooks.recorder import Recorder
from ..loop import TrainingLoop
from ..run_length import RunLength
from ..setup import TrainingSetup
from .history import History, read_history
from .ownership import Ownership, refuse_if_owned
from .resume import check_fit, earlier_signature, find_checkpoint, history_of
from .run_directory import AUTO, CHECKPOINTS, TOKENIZER, RunDirectory, new_directory


class Place(NamedTuple):
    """The directory of a run, and the checkpoint from which it is resumed.

    Attributes
    ----------
    path : Path
    directory : RunDirectory or None
        Open on rank 0; None on the others.
    checkpoint : Checkpoint or None
        None for a run that begins.
    owner : Ownership
        To be released at the end of the run.
    """

    path: Path
    directory: RunDirectory | None
    checkpoint: Checkpoint | None
    owner: Ownership


def find_earlier(config: Config, world: World, resume: str) -> Signature | None:
    """Return the data signature of the run to be resumed; None for a new run (collective)."""
    if not resume or not config.run.out:  # where there is no run yet, it has no directory either
        return None
    file = Path(resume)
    return earlier_signature(world, file if file.is_file() else Path(config.run.out) / CHECKPOINTS)


def open_run(
    config: Config,
    world: World,
    resume: str,
    setup: TrainingSetup,
    note: Callable[[str], None],
    *,
    allow_changed_data: bool = False,
) -> Place | None:
    """Open the directory of a run, new or resumed; None if there is nothing left to do (collective).

    Raises
    ------
    AgreedError
        If that cannot be: another run owns the directory, for example.
    """
    owner = Ownership(world.all_gather(secrets.token_hex(8))[0])
    try:
        place = _open(config, world, resume, setup, note, owner, allow_changed_data)
    except BaseException:
        owner.release()
        raise
    if place is None:
        owner.release()
    return place


def _open(
    config: Config,
    world: World,
    resume: str,
    setup: TrainingSetup,
    note: Callable[[str], None],
    owner: Ownership,
    allow_changed_data: bool,
) -> Place | None:
    path, file, history = _enter(config, world, resume, owner)
    checkpoint, past = None, None
    finished = bool(resume) and file is None and history.is_finished(config.run)
    if resume and history.begun and not finished:
        checkpoint = find_checkpoint(world, file or path / CHECKPOINTS, note)
        past = history_of(checkpoint) if checkpoint else None
    with world.together():
        if past is not None and checkpoint is not None:
            for change in check_fit(config, checkpoint, setup, allow_changed_data):
                if world.rank == 0:
                    note(f"resumed with changed data: {change}")
            length = RunLength.of(config.run, past.steps_per_epoch)
            evaluated = past.results[-1].step if past.results else 0
            if length.is_last(past.step) and evaluated == past.step == history.steps:
                finished = True
                if history.flaw:
                    raise UserError(f"{path} is finished, but {history.flaw}")
        elif resume and not finished:
            _check_without_checkpoint(path, resume, history, config.run)
    if finished:
        if world.rank == 0:
            note(f"{path} is finished: there is nothing to resume")
        return None
    directory = None
    with world.together():
        if world.rank == 0:
            if resume and past is None and newest_first(path / CHECKPOINTS):
                note(f"no checkpoint in {path / CHECKPOINTS} is whole: the run begins anew")
            remove_unfinished(path / CHECKPOINTS)
            done = (past.step, past.results[-1].step if past.results else 0) if past else (0, 0)
            directory = RunDirectory(path, config, done if resume else None, owner)
            tokenizer = setup.dataset.tokenizer
            if tokenizer is not None and tokenizer.file:
                write_atomically(path / TOKENIZER, tokenizer.file)
    return Place(path, directory, checkpoint, owner)


def _enter(config: Config, world: World, resume: str, owner: Ownership) -> tuple[Path, Path | None, History]:
    """Return the run's directory, the checkpoint file that was named, and the history of the directory.

    Rank 0 becomes the owner, unless the run is finished: then nothing is written.
    """
    found: tuple[Path, Path | None, History] = Path(), None, History(False, False, False, 0, 0, "", 0, "")
    with world.together():
        if world.rank == 0:
            path = new_directory(config)
            file = Path(resume) if resume not in ("", AUTO) and Path(resume).is_file() else None
            if resume and file is None and read_history(path).is_finished(config.run):
                refuse_if_owned(path)
            else:
                owner.take(path)
            found = path, file, read_history(path)
    found = world.all_gather(found)[0]
    return found


def _check_without_checkpoint(path: Path, resume: str, history: History, settings: Run) -> None:
    """Raise a UserError if a run without a complete checkpoint cannot start over, or would lose work by it."""
    nothing = f"there is no whole checkpoint in {path / CHECKPOINTS}"
    by_steps = settings.steps > 0
    option, wanted, done = ("--steps", settings.steps, history.steps) if by_steps else (
        "--epochs", settings.epochs, history.epochs)  # fmt: skip
    if history.ended and done > wanted and not history.stopped:
        raise UserError(f"{option} is {wanted}, but {path} has done {done}")
    if history.ended and done < wanted and not history.stopped:
        raise UserError(f"{path} has done {done} {option[2:]} of the {wanted} that are asked for, but {nothing}")
    if history.ended:
        raise UserError(f"{nothing}, and {history.flaw or f'{path} was stopped early'}")
    if resume != AUTO:
        raise UserError(nothing)


def reopen_run(place: Place, loop: TrainingLoop, world: World) -> RunDirectory | None:
    """Reopen the directory of a run that has lost ranks, at the position of ``loop``, on the present rank 0."""
    before, run = loop.hooks[Recorder].directory, loop.run
    if before is not None:
        before.close()
    directory = None
    with world.together():
        if world.rank == 0:
            place.owner.take(place.path)
            remove_unfinished(place.path / CHECKPOINTS)
            done = run.step, run.results.last_step
            directory = RunDirectory(place.path, run.config, done, place.owner)
    return directory

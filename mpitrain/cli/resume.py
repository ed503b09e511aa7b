"""``--resume``: find the directory of a run, open it, and print how to resume."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config import Config, Run
from ..errors import UserError
from ..training.run_directory import CHECKPOINTS, CONFIG, RunDirectory, last_directory, new_directory

if TYPE_CHECKING:
    from ..comm.world import World
    from ..data.signature import Signature
    from ..training.checkpoint import Checkpoint
    from ..training.history import History
    from ..training.loop import TrainingLoop
    from ..training.ownership import Ownership
    from ..training.setup import TrainingSetup

AUTO = "auto"


class Place(NamedTuple):
    """Directory of a run, and the checkpoint from which it continues."""

    path: Path
    directory: RunDirectory | None  # open on rank 0
    checkpoint: "Checkpoint | None"
    owner: "Ownership"


def run_of(resume: str, out: str, config: Callable[[], Config]) -> Path | None:
    """Return the directory of the run to be resumed; None for a new one.

    Raises
    ------
    UserError
        If ``resume`` names no run, or another one than ``out``.
    """
    if resume == AUTO:
        return Path(out) if out else last_directory(config())
    path = Path(resume)
    directory = path.parent if path.is_file() else path
    directory = directory.parent if directory.name == CHECKPOINTS else directory
    if not (directory / CONFIG).is_file():
        raise UserError(f"cannot resume {path}: it is neither a run directory nor a checkpoint in one")
    if out and Path(out).absolute() != directory.absolute():
        raise UserError(f"--resume {path} continues in {directory}, not in {out}: to branch off, copy the directory")
    return directory


def find_earlier(config: Config, world: "World", resume: str) -> "Signature | None":
    """Return the data signature of the run to be resumed; None for a new run (collective)."""
    from ..training.resume import earlier_signature

    if not resume or not config.run.out:  # where there is no run yet, it has no directory either
        return None
    file = Path(resume)
    return earlier_signature(world, file if file.is_file() else Path(config.run.out) / CHECKPOINTS)


def open_run(
    config: Config,
    world: "World",
    resume: str,
    setup: "TrainingSetup",
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
    from ..training.ownership import Ownership

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
    world: "World",
    resume: str,
    setup: "TrainingSetup",
    note: Callable[[str], None],
    owner: "Ownership",
    allow_changed_data: bool,
) -> Place | None:
    from ..data.sampler import num_steps
    from ..training.checkpoint.folder import newest_first, remove_unfinished
    from ..training.resume import check_fit, find_checkpoint, history_of
    from ..training.run_length import RunLength

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
            length = RunLength.of(config.run, num_steps(past.num_samples, config.data.batch_size))
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
    return Place(path, directory, checkpoint, owner)


def _enter(config: Config, world: "World", resume: str, owner: "Ownership") -> tuple[Path, Path | None, "History"]:
    """Return the run's directory, the checkpoint file that was named, and the history of the directory.

    Rank 0 becomes the owner, unless the run is finished: then nothing is written.
    """
    from ..training.history import History, read_history
    from ..training.ownership import refuse_if_owned

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


def _check_without_checkpoint(path: Path, resume: str, history: "History", settings: Run) -> None:
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


def reopen_run(place: Place, loop: "TrainingLoop", world: "World") -> RunDirectory | None:
    """Reopen the directory of a run that has lost ranks, at the position of ``loop``, on the present rank 0."""
    from ..training.checkpoint.folder import remove_unfinished
    from ..training.hooks.recorder import Recorder

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


def leave(loop: "TrainingLoop", place: Place, console: Any) -> int:
    """Print how to resume the run, and return the exit code."""
    from ..training.hooks.checkpoints import Checkpoints

    loop.run.data_parallel.free()
    if place.directory is not None:
        place.directory.close()
    writer = loop.hooks[Checkpoints].writer
    if writer is not None and writer.written:
        console.say(f"left after step {loop.run.step:,}; continue with --resume {place.path}")
    return loop.run.config.checkpoint.exit_code

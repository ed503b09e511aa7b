"""``--resume``: which directory is meant, what is found in it, and what is said on leaving."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config import Config
from ..errors import UserError
from ..training.run_directory import (
    CHECKPOINTS,
    CONFIG,
    METRICS,
    REPORT,
    RunDirectory,
    choose_directory,
    last_directory,
)

if TYPE_CHECKING:
    from ..comm.world import World
    from ..data.signature import Signature
    from ..training.checkpoint import Checkpoint
    from ..training.session import Session
    from ..training.trainer import Trainer

AUTO = "auto"


class Place(NamedTuple):
    """Where a run writes, and where it goes on from."""

    path: Path
    directory: RunDirectory | None  # open on rank 0
    checkpoint: "Checkpoint | None"


def run_of(resume: str, out: str, config: Callable[[], Config]) -> Path | None:
    """Return the directory of the run that is to be resumed; None for a new one.

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
        raise UserError(f"--resume {path} goes on in {directory}, not in {out}: to branch off, copy the directory")
    return directory


def find_earlier(config: Config, world: "World", resume: str) -> "Signature | None":
    """Return what the run that is to be resumed was trained on; None for a new run. All ranks call it together."""
    from ..training.resume import earlier_signature

    if not resume:
        return None
    file = Path(resume)
    return earlier_signature(world, file if file.is_file() else choose_directory(config) / CHECKPOINTS)


def open_run(
    config: Config,
    world: "World",
    resume: str,
    session: "Session",
    note: Callable[[str], None],
    *,
    allow_changed_data: bool = False,
) -> Place | None:
    """Open the directory of a run, new or resumed; None if there is nothing left to do. All ranks call it together.

    Raises
    ------
    AgreedError
        If that cannot be.
    """
    from ..training.checkpoint.folder import remove_unfinished
    from ..training.resume import check_fit, find_checkpoint, past_of

    path, begun, finished = world.all_gather(_look(choose_directory(config)))[0]
    checkpoint = None
    if resume and begun:
        file = Path(resume)
        checkpoint = find_checkpoint(world, file if resume != AUTO and file.is_file() else path / CHECKPOINTS, note)
    if checkpoint is None and finished and resume == AUTO:
        if world.rank == 0:
            note(f"{path} is finished: there is nothing to resume")
        return None
    directory = None
    with world.together():
        if checkpoint is not None:
            for change in check_fit(config, checkpoint, session, allow_changed_data):
                if world.rank == 0:
                    note(f"resumed with changed data: {change}")
        elif resume not in ("", AUTO):
            raise UserError(f"there is no whole checkpoint in {path / CHECKPOINTS}")
        if world.rank == 0:
            remove_unfinished(path / CHECKPOINTS)
            past = past_of(checkpoint) if checkpoint else None
            done = (past.step, len(past.results)) if past else (0, 0)
            directory = RunDirectory(path, config, done if resume else None)
    return Place(path, directory, checkpoint)


def reopen_run(path: Path, trainer: "Trainer", world: "World") -> RunDirectory | None:
    """Open the directory of a run that has lost ranks, where ``trainer`` has come to, on what is rank 0 now."""
    from ..training.checkpoint.folder import remove_unfinished

    if trainer.record.directory is not None:
        trainer.record.directory.close()
    directory = None
    with world.together():
        if world.rank == 0:
            remove_unfinished(path / CHECKPOINTS)
            directory = RunDirectory(path, trainer.config, (trainer.step, len(trainer.record.results)))
    return directory


def leave(trainer: "Trainer", place: Place, console: Any) -> int:
    """Say where the run can be resumed, and return the exit code."""
    trainer.data_parallel.free()
    if place.directory is not None:
        place.directory.close()
    if trainer.writer is not None and trainer.writer.written:
        console.say(f"left after step {trainer.step:,}; go on with --resume {place.path}")
    return trainer.config.checkpoint.exit_code


def _look(path: Path) -> tuple[Path, bool, bool]:
    return path, (path / METRICS).exists(), (path / REPORT).exists()

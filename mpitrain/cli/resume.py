"""``--resume``: find the directory of a run, open it, and print how to resume."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..errors import UserError
from ..training.directory.run_directory import AUTO, CHECKPOINTS, CONFIG, last_directory

if TYPE_CHECKING:
    from ..training.directory.open_run import Place
    from ..training.loop import TrainingLoop


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


def leave(loop: "TrainingLoop", place: "Place", console: Any) -> int:
    """Print how to resume the run, and return the exit code."""
    from ..training.hooks.checkpoints import Checkpoints

    loop.run.data_parallel.free()
    if place.directory is not None:
        place.directory.close()
    writer = loop.hooks[Checkpoints].writer
    if writer is not None and writer.written:
        console.say(f"left after step {loop.run.step:,}; continue with --resume {place.path}")
    return loop.run.config.checkpoint.exit_code

"""Directory of a run that continues from the checkpoint of another run."""

import contextlib
import os
import shutil
from pathlib import Path

from ...errors import UserError
from ..checkpoint.folder import path_of_step
from ..directory.run_directory import CHECKPOINTS, CONFIG, METRICS


def inherit(parent: Path, step: int, path: Path) -> bool:
    """Make the directory ``path`` of a run that has the past of the one in ``parent`` up to a step.

    The checkpoint is the same file under another name where the file system allows it, else a copy. The directory is
    complete or absent; what an earlier attempt has left there is removed. Return False if there is no such checkpoint.

    Raises
    ------
    UserError
        If it cannot be made.
    """
    partial = path.with_name(f".{path.name}.part")
    source = path_of_step(parent / CHECKPOINTS, step)
    target = path_of_step(partial / CHECKPOINTS, step)
    if not source.exists():
        return False
    try:
        for old in (partial, path):
            if old.exists():
                shutil.rmtree(old)
        target.parent.mkdir(parents=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
        for name in (METRICS, CONFIG):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(parent / name, partial / name)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"cannot make {path} out of {source}: {error.strerror or error}") from None
    return True

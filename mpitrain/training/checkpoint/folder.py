"""The checkpoints of a run, as files of one directory: their names, their order, and which are kept."""

import contextlib
import os
import re
from pathlib import Path

_NAME = re.compile(r"step-(\d+)\.safetensors")
_UNFINISHED = re.compile(r"\.step-\d+\.safetensors\.part")


def path_of_step(directory: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step."""
    return directory / f"step-{step:09d}.safetensors"


def unfinished(path: Path) -> Path:
    """Return the temporary name of ``path`` until it is complete."""
    return path.with_name(f".{path.name}.part")


def newest_first(directory: Path) -> list[Path]:
    """Return the checkpoints in ``directory``, the last step first; empty without the directory."""
    found = []
    with contextlib.suppress(OSError):
        found = [(int(m[1]), path) for path in directory.iterdir() if (m := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def remove_unfinished(directory: Path) -> None:
    """Remove unfinished checkpoints of a run that was killed while writing."""
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if _UNFINISHED.fullmatch(path.name):
                path.unlink()


def keep_last(directory: Path, count: int) -> None:
    """Remove all but the last ``count`` checkpoints."""
    with contextlib.suppress(OSError):
        for path in newest_first(directory)[count:]:
            path.unlink()


def complete(path: Path, header: bytes) -> None:
    """Write the header of an unfinished checkpoint, flush it to the disk and rename it."""
    temporary = unfinished(path)
    with open(temporary, "r+b", buffering=0) as file:
        file.write(header)
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

"""The starters of the lab on kernels."""

from pathlib import Path

from ...errors import UserError
from ..course.start import LABS


def exercises() -> dict[int, tuple[Path, str]]:
    """Return the starter of each exercise, by its number, and its purpose, which the file begins with.

    Raises
    ------
    UserError
        If this installation lacks them.
    """
    folder = LABS["kernels"].folder
    found = {}
    for path in sorted(folder.glob("exercise*.cu")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        found[int(path.stem.partition("_")[0].removeprefix("exercise"))] = path, first.partition(": ")[2]
    if not found:
        raise UserError(f"this installation of mpitrain lacks the exercises: there are no files in {folder}")
    return found

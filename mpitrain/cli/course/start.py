"""``mpitrain course start``: copy a lab from the installed package to a folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob

LAB = Path(__file__).with_name("lab")
PATTERNS = ("README.md", "exercise*.py", "exercise*.cu", "lab.ipynb")  # a checkout also has the solutions there
DESCRIPTION = "Copy a lab (README, starters of the exercises, a notebook) to a new folder."


@dataclass(frozen=True)
class Lab:
    """A lab in the package.

    Attributes
    ----------
    folder : Path
    first : str
        Command that its first exercise begins with; {folder} stands for the folder of the copy.
    """

    folder: Path
    first: str


LABS = {
    "collectives": Lab(LAB, "mpitrain collective check {folder}/exercise1_pairs.py:pairs --max-ranks 2"),
    "pipelines": Lab(LAB / "pipelines", "mpitrain pipeline check {folder}/exercise1_gpipe.py:gpipe"),
    "kernels": Lab(LAB / "kernels", "mpitrain kernel lab {folder}/exercise1_add.cu"),
}


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """Options of start."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """A folder that is created, or an empty one."""
    lab: Literal["collectives", "pipelines", "kernels"] = "collectives"
    """Exercises: five on all-reduce algorithms, four on pipeline schedules, or five on CUDA kernels."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(StartOptions, argv, command="course start", description=DESCRIPTION, speaks=speaks)
    return LocalJob(lambda: start(options))


def start(options: StartOptions) -> int:
    """Copy the files and print the first command of the lab."""
    folder, lab = options.folder, LABS[options.lab]
    files = sorted(path for pattern in PATTERNS for path in lab.folder.glob(pattern))
    if not files:
        raise UserError(f"this installation of mpitrain lacks the lab: there are no files in {lab.folder}")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty; the lab is copied to a new or an empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, folder / file.name)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or folder}: {error.strerror}") from None
    print(f"{folder}: {', '.join(file.name for file in files)}")
    print(f"Read {folder / 'README.md'}. The first exercise begins with")
    print(f"    {lab.first.format(folder=folder)}")
    return 0

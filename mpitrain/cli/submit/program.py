"""The command that the ranks of a job run: checked where the job is submitted, and written for a shell."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...errors import UserError
from ...training.directory.run_directory import AUTO

if TYPE_CHECKING:
    from ..order import Job
    from ..train import TrainOptions
    from .options import JobOptions

CHECKED = 20  # values of --array that are parsed before a job is submitted; reading many config files takes long


@dataclass(frozen=True)
class Program:
    """A command of mpitrain for the ranks of a job.

    Attributes
    ----------
    words : tuple of str
        Command and options, as they were given.
    option : str
        Option that each job of an array has another value of; empty without an array.
    values : tuple of str
    train : TrainOptions or None
        Options of a training, with the first of the values.
    """

    words: tuple[str, ...]
    option: str = ""
    values: tuple[str, ...] = ()
    train: "TrainOptions | None" = None

    @property
    def resumes(self) -> bool:
        """True for a training that begins anew or continues, as it finds its directory; --resume names another."""
        return self.train is not None and self.train.resume in ("", AUTO)

    @property
    def out(self) -> str:
        """Directory of the results that was given, of all jobs of an array; empty if none was."""
        return self.train.run.out if self.train is not None else ""

    @property
    def max_time(self) -> str:
        """Time after which the training leaves, if its options say so."""
        return self.train.checkpoint.max_time if self.train is not None else ""

    @property
    def exit_code(self) -> int:
        """Exit code of a training that left with a checkpoint."""
        return self.train.checkpoint.exit_code if self.train is not None else 0


def split_program(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return the options of the job and the command after ``--``.

    >>> split_program(["--nodes", "2", "--", "train", "--epochs", "3"])
    (['--nodes', '2'], ['train', '--epochs', '3'])
    """
    if "--" not in argv:
        return argv, []
    place = argv.index("--")
    return argv[:place], argv[place + 1 :]


def read_program(words: Sequence[str], options: "JobOptions", *, reads_files: bool = True) -> Program:
    """Return the command ``words`` for the job of ``options``.

    Parameters
    ----------
    reads_files : bool
        False if the ranks have other files than this machine, so that --config and --resume cannot be read here.

    Raises
    ------
    UserError
        If the ranks would refuse it: a mistake in it, a mesh of another number of ranks.
    """
    words = tuple(words) if words and not words[0].startswith("-") else ("train", *words)
    option, values = parse_array(options.array) if options.array else ("", ())
    program = Program(words, option, values)
    if not reads_files and any(word.partition("=")[0] in ("--config", "--resume") for word in words):
        raise UserError(
            "--config and --resume name files that only the job has: give settings as options; a job resumes by itself"
        )
    jobs = [_parse(program, value) for value in _checked(values)]
    if words[0] != "train":
        return program
    trains: list[TrainOptions] = [job.options for job in jobs]
    for train in trains:
        _check_mesh(train, options.ranks)
    return replace(program, train=trains[0])


def parse_array(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the option and the values of ``--array``.

    >>> parse_array("seed=0-3"), parse_array("lr=0.1,0.01")
    (('--seed', ('0', '1', '2', '3')), ('--lr', ('0.1', '0.01')))
    """
    name, is_one, rest = text.partition("=")
    name = name.removeprefix("--")
    if match := re.fullmatch(r"(\d+)-(\d+)", rest):
        first, last = map(int, match.groups())
        values = tuple(map(str, range(first, last + 1)))
    else:
        values = tuple(rest.split(","))
    if not (re.fullmatch(r"[a-z][a-z-]*", name) and is_one and values and all(values)):
        raise UserError(f"--array is {text!r}, but must be an option and its values: seed=0-9, or lr=0.1,0.01")
    if name in ("out", "resume"):
        raise UserError(f"--array cannot set --{name}: each job has its own directory in --out, and resumes there")
    return f"--{name}", values


def quote(words: Sequence[str]) -> str:
    """Return words for a shell, those that need it in quotes, in lines of at most about 100 characters."""
    lines = [""]
    for word in map(shlex.quote, words):
        if lines[-1] and len(lines[-1]) + len(word) > 100 and not word.startswith("'"):
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n    ".join(lines)


def _checked(values: tuple[str, ...]) -> Iterator[str | None]:
    yield from (*values[: CHECKED - 1], *values[CHECKED - 1 :][-1:]) if values else (None,)


def _parse(program: Program, value: str | None) -> "Job":
    """Return the job of the ranks, with a value of --array."""
    from ..commands import COMMANDS, module_of
    from ..order import Job

    command, *rest = program.words
    if command not in COMMANDS:
        raise UserError(f"the command after -- begins with {command!r}, which is no command of mpitrain")
    job = module_of(command).parse([*rest, *([] if value is None else [program.option, value])], True)
    if not isinstance(job, Job):
        raise UserError(f"mpitrain {command} runs in one process, and needs no job")
    return job


def _check_mesh(train: "TrainOptions", ranks: int) -> None:
    from ...comm.axes import fit

    if train.parallel.mesh:
        fit(train.parallel.mesh, ranks)

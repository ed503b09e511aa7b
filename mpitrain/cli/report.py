"""``mpitrain report``: runs as one page of HTML, for people to look at."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..errors import UserError
from .files import check_writable, write
from .options import parse_options
from .order import LocalJob
from .terminal import make_console

DESCRIPTION = "Write a page about one or several runs: one HTML file that needs no network, for any browser."


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of report."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN")] = ()
    """Run directories written by train; with several, their curves lie over each other and settings that differ come
    first. A run may still train."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")] = Path("report.html")
    """File to write."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ReportOptions, argv, command="report", description=DESCRIPTION, speaks=speaks)
    runs = tuple(path for path in options.runs if not is_database(path))
    if not runs:
        raise UserError("report needs the directory of a run: mpitrain report RUN [RUN ...] -o FILE.html")
    if options.out.suffix not in (".html", ".htm"):
        raise UserError(f"-o is {options.out}, but must end in .html")
    return LocalJob(lambda: report(replace(options, runs=runs)))


def is_database(path: Path) -> bool:
    """Return whether this is the database of ``--monitor sqlite``, which ``runs/*`` finds among the runs."""
    return path.suffix in (".sqlite", ".sqlite-shm", ".sqlite-wal") and path.is_file()


def report(options: ReportOptions) -> int:
    """Write the page."""
    from ..pages.page import page
    from ..pages.run import open_runs

    runs = open_runs(options.runs)
    check_writable(options.out)
    write(options.out, page(runs))
    make_console().say(f"{options.out}: open it in a browser")
    return 0

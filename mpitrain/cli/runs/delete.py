"""``mpitrain runs delete``: remove runs from the database, and their directories where that is asked for."""

import contextlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ...monitor.database import errors, open_database, transaction
from ...monitor.run_id import stored_id
from ...monitor.runs import Record, delete_runs, read_runs
from ...plain_text import count, visible
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console
from .reading import FileOptions, distinct_runs, reading
from .values import label, title

DESCRIPTION = "Delete runs from the database, after a question; with --directory their directories as well."


@dataclass(frozen=True, kw_only=True)
class DeleteOptions(FileOptions):
    """Options of delete."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN")] = ()
    """Runs by their ids in the list, their directories, or the names of these."""
    yes: Annotated[bool, arg(aliases=["-y"])] = False
    """Delete without a question."""
    directory: bool = False
    """Delete the run directories with all files in them, too."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(DeleteOptions, argv, command="runs delete", description=DESCRIPTION, speaks=speaks)
    if not options.runs:
        raise UserError("delete needs a run or more; mpitrain runs list shows all, with their ids")
    return LocalJob(lambda: delete(options))


def delete(options: DeleteOptions) -> int:
    """Delete the rows, then the directories; the exit code is 1 if the user refuses."""
    runs, directories = _find(options, options.runs)
    if not options.yes:
        if not _ask(runs, directories, options.file):
            print("nothing is deleted")
            return 1
        runs, directories = _find(options, [str(run["id"]) for run in runs])  # one may be resumed by now
    _delete_rows(options.file, runs)
    for path in directories:
        _delete_directory(path)
    more = f" and {', '.join(map(_short, directories))}" if directories else ""
    make_console().say(f"deleted {count(len(runs), 'run')}{more}")
    return 0


def _find(options: DeleteOptions, texts: Sequence[str]) -> tuple[list[Record], list[Path]]:
    """Return the runs that texts name, and the directories to delete.

    Raises
    ------
    UserError
        If one of them must not be deleted.
    """
    with reading(options.file) as (_, everything):
        runs = distinct_runs(everything, texts)
    _refuse_running(runs)
    directories = [path for run in runs if (path := _directory_of(run))] if options.directory else []
    for path in directories:
        _check_directory(path, options.file, runs, everything)
    return runs, directories


def _refuse_running(runs: Sequence[Record]) -> None:
    for run in runs:
        if run["state"] == "running":
            raise UserError(f"{title(run)}, is still running: stop it first")


def _directory_of(run: Record) -> Path | None:
    """Return the directory of a run, None if it has none any more.

    Raises
    ------
    UserError
        If it is not the run's own.
    """
    path = Path(run["path"]) if run["path"] else None
    if path is None or not path.is_dir():
        return None
    if stored_id(path) != run["key"]:
        raise UserError(f"{_short(path)} holds another run than {run['id']}: it is not deleted")
    if path.is_symlink():
        raise UserError(f"{_short(path)} is a symbolic link: it is not deleted")
    return path


def _check_directory(path: Path, file: Path, runs: Sequence[Record], everything: Sequence[Record]) -> None:
    """Raise a UserError if the directory is in use, or holds the database, another run or the working directory."""
    from ...training.directory.ownership import refuse_if_owned

    refuse_if_owned(path)
    chosen, here = [run["id"] for run in runs], path.resolve()
    others = [Path(run["path"]) for run in everything if run["path"] and run["id"] not in chosen]
    for other in (Path.cwd(), file, *others):
        if here == other.resolve() or here in other.resolve().parents:
            raise UserError(f"{_short(path)} is not deleted, since {_short(other.resolve())} is in it")


def _ask(runs: Sequence[Record], directories: Sequence[Path], file: Path) -> bool:
    """Return whether the user agrees.

    Raises
    ------
    UserError
        If there is no terminal to ask on.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError("delete asks before it deletes, and there is no terminal to ask on: give --yes")
    what = ", ".join(map(label, runs))
    more = f", and all files in {', '.join(map(_short, directories))}" if directories else ""
    try:
        answer = input(visible(f"delete {what} from {file}{more}? [y/N] "))
    except EOFError:
        print()
        return False
    return answer.strip().lower() in ("y", "yes")


def _delete_rows(file: Path, runs: Sequence[Record]) -> None:
    """Delete the rows of runs, unless one of them was resumed meanwhile."""
    chosen = [run["id"] for run in runs]
    with errors(file), contextlib.closing(open_database(file, make=False)) as connection, transaction(connection):
        _refuse_running([run for run in read_runs(connection) if run["id"] in chosen])
        delete_runs(connection, runs)


def _delete_directory(path: Path) -> None:
    try:
        if path.is_dir():  # not deleted with that of another run, in which it was
            shutil.rmtree(path)
    except OSError as error:
        name = error.filename or path
        raise UserError(
            f"cannot delete {name}: {error.strerror}; the runs are deleted, but {_short(path)} is left"
        ) from None


def _short(path: Path) -> str:
    """Return a path as seen from the working directory, if it is in that."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)

"""The database of the commands on runs: its option, and reading it in one state."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...monitor.database import DEFAULT_FILE, errors, open_database
from ...monitor.runs import Record, find_runs, read_rows, read_runs


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Options of all commands on runs."""

    file: Path = Path(DEFAULT_FILE)
    """The database, as in train --monitor sqlite:file=FILE."""


@contextlib.contextmanager
def reading(file: Path) -> Iterator[tuple[sqlite3.Connection, list[Record]]]:
    """Open the database in ``file``, with its runs.

    All that is read in the block is of one moment: a run that begins meanwhile is not seen.

    Raises
    ------
    UserError
        If there is no database, or it cannot be read.
    """
    with errors(file), contextlib.closing(open_database(file, make=False)) as connection:
        connection.execute("BEGIN")
        yield connection, read_runs(connection)


def distinct_runs(runs: Sequence[Record], texts: Iterable[str]) -> list[Record]:
    """Return the runs that texts name, each once."""
    return list({run["id"]: run for run in find_runs(runs, texts)}.values())


def read_records(connection: sqlite3.Connection, table: str, run: Record) -> list[Record]:
    """Return the rows of a run in a table by the names of their columns, without the run's id."""
    names, rows = read_rows(connection, table, [run])
    return [dict(zip(names[1:], row[1:], strict=True)) for row in rows]

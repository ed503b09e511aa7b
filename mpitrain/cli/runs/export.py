"""``mpitrain runs export``: the figures of runs as CSV or JSON."""

import csv
import io
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ...errors import UserError
from ...json_text import to_json
from ...monitor.runs import Record, as_json, read_evaluations, read_rows
from ..files import check_writable, write
from ..options import parse_options
from ..order import LocalJob
from .reading import FileOptions, distinct_runs, read_records, reading

DESCRIPTION = "Write a table of runs as CSV, or everything as JSON: mpitrain runs export 3 --table steps -o steps.csv."
OWN_TABLES = ("steps", "times", "settings", "faults", "checkpoints")  # with the columns of the database


@dataclass(frozen=True, kw_only=True)
class ExportOptions(FileOptions):
    """Options of export."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN")] = ()
    """Runs by their ids in the list, their directories, or the names of these; by default all."""
    table: Literal["runs", "evaluations", "steps", "times", "settings", "faults", "checkpoints"] = "runs"
    """Table to write as CSV."""
    format: Literal["csv", "json"] = "csv"
    """csv, or json for all tables of each run."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """File to write; without it, standard output."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ExportOptions, argv, command="runs export", description=DESCRIPTION, speaks=speaks)
    if options.format == "json" and options.table != "runs":
        raise UserError("--table is for CSV: JSON has all tables of each run")
    return LocalJob(lambda: export(options))


def export(options: ExportOptions) -> int:
    """Print or write the figures."""
    check_writable(options.out)
    with reading(options.file) as (connection, everything):
        runs = distinct_runs(everything, options.runs) if options.runs else everything
        if options.format == "json":
            text = to_json([_everything(connection, run) for run in runs]) + "\n"
        else:
            text = _csv(*_table(connection, options.table, runs))
    if options.out is None:
        print(text, end="")
    else:
        write(options.out, text)
    return 0


def _table(connection: sqlite3.Connection, table: str, runs: Sequence[Record]) -> tuple[list[str], list[list[Any]]]:
    """Return the columns of a table and its rows."""
    if table in OWN_TABLES:
        return read_rows(connection, table, runs)
    if table == "runs":
        records = [as_json(run) for run in runs]
    else:
        records = [{"run": run["id"], **one} for run in runs for one in read_evaluations(connection, run)]
    names = list(dict.fromkeys(name for record in records for name in record))
    return names, [[record.get(name) for name in names] for record in records]


def _csv(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return output.getvalue()


def _cell(value: Any) -> str:
    """Return a value as text: that of JSON, but nothing for a missing one, and values of a list without brackets."""
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    return value if isinstance(value, str) else to_json(value)


def _everything(connection: sqlite3.Connection, run: Record) -> Record:
    """Return a run with the rows of all its tables."""
    tables: dict[str, list[Record]] = {"evaluations": read_evaluations(connection, run)}
    tables |= {table: read_records(connection, table, run) for table in OWN_TABLES}
    for setting in tables["settings"]:
        setting |= {"value": json.loads(setting["value"]), "is_default": bool(setting["is_default"])}
    return {**as_json(run), "tables": tables}

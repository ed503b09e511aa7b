"""``mpitrain data check``: show the interpretation of a source, and doubtful data in it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob

if TYPE_CHECKING:
    from ...data.tables import CsvOptions, Table
    from ...training.display.console import PlainConsole

DESCRIPTION = "Show how each column of a table is interpreted, shapes and classes of any data, and what looks doubtful."


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Options of check."""

    source: Annotated[Positional[str], arg(metavar="SOURCE")]
    """Data as in train --data: csv:FILE, csv:FILE,target=COLUMN, npz:FILE, mnist:DIR and so on."""
    task: Literal["auto", "classification", "regression", "segmentation"] = "auto"
    """Task as in train --task."""
    test_fraction: float = 0.2
    """Share of the samples held out for the test, as in train."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(CheckOptions, argv, command="data check", description=DESCRIPTION, speaks=speaks)
    return LocalJob(lambda: check(options))


def check(options: CheckOptions) -> int:
    """Print the report on a source.

    Raises
    ------
    UserError
        Afterwards, if training would refuse the data: why.
    """
    from ...data import open_dataset
    from ...data.report import describe_dataset
    from ...data.tables import TABLES, parse_csv_source
    from ...data.text import has_text
    from ..terminal import make_console

    console = make_console()
    kind, _, place = options.source.partition(":")
    if kind in TABLES and not has_text(kind, place):
        name, csv_options = parse_csv_source(place, kind)
        for file_name in filter(None, (name, csv_options.test)):
            show_table(console, file_name, csv_options)
        if not csv_options.target:
            console.say(f"no target: {kind}:{name},target=COLUMN shows what would be learned")
            return 0
    if kind == "images":
        from ...data.images import describe_images

        for line in describe_images(place):
            console.say(line)
    if kind == "audio":
        from ...data.audio import describe_audio

        for line in describe_audio(place):
            console.say(line)
    task = None if options.task == "auto" else options.task
    dataset = open_dataset(options.source, task=task, test_fraction=options.test_fraction)
    for line in [*describe_dataset(dataset), *dataset.notes]:
        console.say(line)
    return 0


def show_table(console: "PlainConsole", name: str, options: "CsvOptions") -> None:
    """Print the interpretation of a csv or Parquet file.

    Raises
    ------
    UserError
        If it cannot be read to its end, after the columns up to there are printed.
    """
    from ...data.tables.source import table_path
    from ...data.tables.table import begin_table, read_rows

    table = begin_table(table_path(name, options.kind), options, None)
    head = f"{table.path}: {table.read.described}"
    try:
        read_rows(table, keep_all=True)
    except UserError:
        console.say(f"{head}; readable up to {len(table.lines):,} rows")
        _show_columns(console, table)
        raise
    console.say(f"{head}; {len(table.lines):,} rows, {len(table.columns):,} columns")
    _show_columns(console, table)


def _show_columns(console: "PlainConsole", table: "Table") -> None:
    from ...data.tables import notes_on
    from ...data.tables.report import describe_columns, describe_rows
    from ...training.display.text_table import Column, print_table

    if not table.lines:
        return
    reports = describe_columns(table)
    rows = []
    for report in reports:
        kind = f"{report.kind}, target" if report.is_target else report.kind
        missing = f"{report.missing:,}" if report.missing else ""
        rows.append((" ".join(report.name.split()) or "(no name)", kind, missing, report.values))
    columns = [Column("column", "name"), Column("as", "word"), Column("missing"), Column("values", "text")]
    print_table(console, columns, rows)
    for report in reports:
        for doubt in report.doubts:
            console.say(f"! column {report.name!r} {doubt}")
    for doubt in [*describe_rows(table), *notes_on(table)]:
        console.say(f"! {doubt}")

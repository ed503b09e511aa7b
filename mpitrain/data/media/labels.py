"""Files listed in a csv file, with their classes or values: ``images:DIR,labels=FILE.csv``."""

import os
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ..files import file
from ..tables import CsvOptions
from ..tables.options import split_names
from ..tables.source import target_of
from ..tables.table import Table, begin_table, read_rows
from ..tables.target import Target
from ..tables.words import quoted

FILE_COLUMNS = ("file", "filename", "file_name", "image", "clip", "path", "name", "id")
TARGET_COLUMNS = ("label", "class", "target")


@dataclass(frozen=True)
class LabelTable:
    """A csv file of images, or of files of another kind.

    Attributes
    ----------
    path : Path
    files : list of str
        The paths of the files, in the order of the rows.
    target : str
        The columns to predict, as in the option ``target=``; empty where there are none.
    """

    path: Path
    files: list[str]
    target: str

    def read(self, task: str | None) -> Target:
        """Return the target; raises UserError if cells are missing, or do not fit the task."""
        return target_of(self.table(), task)

    def table(self) -> Table:
        """Return the table with its target read; raises UserError if there is none."""
        if not self.target:
            names = quoted(tuple(begin_table(self.path, CsvOptions(), None).columns))
            raise UserError(f"{self.path}: say which column is predicted with target=COLUMN; there are {names}")
        table = begin_table(self.path, CsvOptions(target=self.target), ())
        read_rows(table)
        return table


def read_label_table(name: str, root: str, target: str) -> LabelTable:
    """Return the files that a csv file names.

    Parameters
    ----------
    name : str
        The csv file.
    root : str
        The directory that the files are in.
    target : str
        Columns to predict; by default the only column beside that of the files, or one of ``TARGET_COLUMNS``.

    Raises
    ------
    UserError
        If there is no such file or column, or a file is not there.
    """
    path = file(name, "labels=")
    header = begin_table(path, CsvOptions(), None)
    columns = list(header.columns)
    column = next((c for known in FILE_COLUMNS for c in columns if c.lower() == known), columns[0])
    others = [c for c in columns if c != column]
    if not target:
        known = [c for c in others if c.lower() in TARGET_COLUMNS]
        target = next(iter(known if known else others if len(others) == 1 else []), "")
    if column in split_names(target, columns):
        raise UserError(f"{path}: the column {column!r} names the files, and cannot be predicted as well")
    names = [cell for rows, _ in header.read.cells([column]) for (cell,) in rows]
    files = [os.path.join(root, cell.strip()) for cell in names]
    lacking = [k for k, found in enumerate(files) if not os.path.isfile(found)]
    if lacking:
        more = f", and {len(lacking) - 1:,} more are not there" if len(lacking) > 1 else ""
        raise UserError(
            f"{path}: row {lacking[0] + 1} names {names[lacking[0]]!r}, but there is no {files[lacking[0]]}{more}"
        )
    if not files:
        raise UserError(f"{path} has a header, but no rows")
    return LabelTable(path, files, target)

"""The use of each column of samples, decided by the first rows: numbers, dates or categories."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from .cells import CellFormat, Kind, Role
from .columns import SHOWN, Column
from .dates import DateFormat, find_format
from .options import CsvOptions
from .words import shortened

_SAMPLE = 1000  # distinct texts looked at


def choose_role(column: Column, options: CsvOptions, path: Path) -> tuple[Role, DateFormat | None]:
    """Return the role of a column whose texts are kept, and its notation of dates; see ``role_of_text``."""
    if column.role != Role.AUTO or column.texts is None:
        return column.role, None
    return role_of_text(column, options, path) if column.tally.is_text else (Role.NUMBER, None)


def role_of_text(column: Column, options: CsvOptions, path: Path) -> tuple[Role, DateFormat | None]:
    """Return the role of a column of text, whose texts are kept, and its notation of dates.

    Text is a date where all cells that are not missing are dates, and a category otherwise; where most cells are
    numbers in another notation, it is an unreadable number.

    Raises
    ------
    UserError
        If dates may have the day or the month first.
    """
    assert column.texts is not None
    cells = column.texts.cells
    dates = find_format(cells, options.format.missing, options.dates)
    if len(dates) > 1:
        cell = next(cell for cell in cells if dates[0].days(cell) != dates[1].days(cell))
        raise UserError(
            f"{path}: column {column.name!r} holds dates such as {shortened(cell)}, in which the day or the month may "
            "come first: dates=dmy or dates=mdy says which"
        )
    if dates:
        return Role.DATE, dates[0]
    like = other_notation(options.format, cells, np.bincount(column.texts.codes, minlength=len(cells)))
    return (Role.NUMBER if like else Role.CATEGORY), None


def other_notation(cell_format: CellFormat, cells: Sequence[str], counts: np.ndarray) -> list[str]:
    """Return the first cells that are numbers in another notation, if most rows hold such; otherwise none.

    Parameters
    ----------
    counts : (len(cells),) array of int
        Rows of each cell.
    """
    some = cells[:_SAMPLE]
    _, kinds = cell_format.interpret(some)
    like = [k for k, cell in enumerate(some) if kinds[k] == Kind.TEXT and cell_format.other_notations(cell)]
    return [some[k] for k in like[:SHOWN]] if 2 * counts[like].sum() > counts[: len(some)].sum() else []

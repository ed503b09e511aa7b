"""Names of columns and contents of cells in sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import UserError
from ...suggest import did_you_mean
from .options import hint_at_option


def quoted(names: Sequence[str], most: int = 5) -> str:
    """Return names in quotes, up to a limit, and the number of others.

    Examples
    --------
    >>> quoted(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def shortened(cell: str) -> str:
    """Return a cell in quotes, cut where it is long."""
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


def check_names(path: Path, names: Sequence[str], columns: Mapping[str, object]) -> None:
    """Raise UserError if one of ``names`` is not among the columns of a file."""
    lacking = [name for name in names if name not in columns]
    if lacking:
        hint = hint_at_option(lacking[0]) or did_you_mean(lacking[0], columns)
        raise UserError(f"{path} has no column {quoted(lacking)}{hint}; its columns are {quoted(list(columns), 40)}")

"""Report on the columns of a table: their interpretation, and doubtful data in them.

Shapes: N rows, F features.
"""

from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from .cells import Kind, Role
from .dates import DateFormat
from .findings import ENOUGH, is_constant, is_id, one_hot_partners
from .roles import role_of_text
from .table import Table
from .words import quoted, shortened

_TINY_SPREAD = 1e-6  # of the mean
_TOP = 3
_LOOKED_AT = 1000  # distinct texts
_NEAR_INTEGERS = 2**53
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class ColumnReport:
    """One column of a table.

    Attributes
    ----------
    name : str
    kind : str
        number, integer, boolean, category, date, text, mixed, empty; or dropped, index.
    is_target : bool
    missing : int
        Cells that count as missing.
    values : str
        The range of numbers and the first ones, or the most frequent texts.
    doubts : tuple of str
        Sentences that follow "column NAME".
    """

    name: str
    kind: str
    is_target: bool = False
    missing: int = 0
    values: str = ""
    doubts: tuple[str, ...] = ()


def describe_columns(table: Table) -> list[ColumnReport]:
    """Return a report on each column of a table read with all its texts, in the order of the file."""
    read = {*table.features, *table.targets}
    reports = []
    for name in table.read.header.names:
        if name in read:
            reports.append(_describe(table, name))
        elif name in table.index:
            reports.append(ColumnReport(name, "index"))
        elif name:
            reports.append(ColumnReport(name, "dropped"))
    return reports


def describe_rows(table: Table) -> list[str]:
    """Return doubts about several columns together: equal rows, columns that give the target away."""
    found = []
    names = [*table.features, *(name for name in table.targets if name not in table.features)]
    hashes = np.zeros(len(table.lines), np.uint64)
    for name in names:
        texts = table.column(name).texts
        codes = table.values(name).view(np.uint64) if texts is None else texts.codes.astype(np.uint64)
        hashes = (hashes ^ codes) * _MIX
        hashes ^= hashes >> np.uint64(29)
    repeated = len(hashes) - len(np.unique(hashes))
    if repeated:
        found.append(
            f"{repeated:,} row{'s' * (repeated > 1)} {'are' if repeated > 1 else 'is'} a copy of an earlier one"
        )
    if len(table.targets) == 1:
        target = table.values(table.targets[0])
        same = [name for name in table.features if np.array_equal(table.values(name), target)]
        if same:
            found.append(f"{quoted(same)} equal{'s' * (len(same) == 1)} the target in every row")
        numeric = [name for name in table.features if not np.isnan(table.values(name)).any()]
        partners = one_hot_partners([table.values(name) for name in numeric], numeric, target)
        if partners:
            found.append(f"{quoted(partners)} and the target are one-hot labels, and tell the target")
    return found


def _describe(table: Table, name: str) -> ColumnReport:
    tally = table.column(name).tally
    missing = tally.count(*table.missing_kinds(name))
    values = table.values(name)
    numbers = values[~np.isnan(values)]
    kind = _kind(table, name, numbers)
    doubts = []
    dates = None
    if name not in table.targets and (kind == "text" or name in table.categories):
        try:
            role, dates = _role(table, name)
            kind = "text" if role == Role.NUMBER else str(role)
        except UserError as error:
            doubts.append(str(error).partition(f"column {name!r} ")[2])
    if kind in ("number", "integer", "mixed"):
        shown, doubts = (
            _range(numbers) + _examples(table, name, values),
            _doubts_on_numbers(numbers, name in table.targets),
        )
    elif dates is not None:
        shown = _dates(dates.interpret(table.texts(name).cells)[0])
    else:
        shown = "" if kind == "empty" else _most_frequent(table, name)
    if kind == "mixed":
        doubts.append(table.odd_cells(name))
    if kind in ("text", "category", "boolean"):
        doubts += _doubts_on_texts(table, name)
    if missing:
        doubts.append(_missing(table, name, missing))
    return ColumnReport(name, kind, name in table.targets, missing, shown, tuple(doubts))


def _kind(table: Table, name: str, numbers: np.ndarray) -> str:
    tally = table.column(name).tally
    if tally.is_text:
        return "text"
    if tally.is_boolean:
        return "boolean"
    if tally.count(*tally.odd_kinds):
        return "mixed"
    if not len(numbers):
        return "empty"
    return "integer" if bool((numbers == np.floor(numbers)).all()) else "number"


def _role(table: Table, name: str) -> tuple[Role, DateFormat | None]:
    if name in table.categories:
        return Role.CATEGORY, None
    return role_of_text(table.column(name), table.options, table.path)


def _dates(days: np.ndarray) -> str:
    """Return the first and the last of some dates, with their times if there are any."""
    days = days[~np.isnan(days)]
    unit = "D" if bool((days == np.floor(days)).all()) else "s"
    seconds = np.round(np.array([days.min(), days.max()]) * 86400).astype("datetime64[s]")
    return " to ".join(str(one).replace("T", " ") for one in seconds.astype(f"datetime64[{unit}]"))


def _missing(table: Table, name: str, count: int) -> str:
    row, cell = table.column(name).tally.earliest(*table.missing_kinds(name))[0]
    first = f"{cell!r} " if cell else ""
    return f"has {count:,} missing value{'s' * (count > 1)}, the first {first}on {table.place(row)}"


def _range(numbers: np.ndarray) -> str:
    if not len(numbers):
        return ""
    with np.errstate(over="ignore"):
        low, mean, high = numbers.min(), numbers.mean(), numbers.max()
    return f"{low:.6g} to {high:.6g}, mean {mean:.6g}"


def _most_frequent(table: Table, name: str) -> str:
    cells, counts = _counts(table, name)
    order = np.argsort(-counts, kind="stable")
    shown = ", ".join(f"{shortened(cells[k])} {counts[k]:,}" for k in order[:_TOP])
    return f"{len(cells):,} distinct: {shown}" + (", ..." if len(cells) > _TOP else "")


def _counts(table: Table, name: str) -> tuple[list[str], np.ndarray]:
    texts = table.texts(name)
    return texts.cells, np.bincount(texts.codes, minlength=len(texts))


def _examples(table: Table, name: str, values: np.ndarray) -> str:
    texts = table.column(name).texts
    first = [f"{value:.15g}" for value in values[:_TOP]] if texts is None else texts.cells[:_TOP]
    return f"; such as {', '.join(shortened(cell)[1:-1] for cell in first)}"


def _doubts_on_numbers(numbers: np.ndarray, is_target: bool) -> list[str]:
    found = []
    if is_constant(numbers):
        return ["is constant"]
    if is_id(numbers):
        found.append("holds another integer in every row: an id?")
    if (
        not is_target
        and np.abs(numbers).max(initial=0) >= _NEAR_INTEGERS
        and bool((numbers == np.floor(numbers)).all())
    ):
        found.append("holds integers above 2**53, of which float64 cannot tell neighbors apart")
    with np.errstate(over="ignore", invalid="ignore"):
        spread, offset = numbers.std() if len(numbers) else 0.0, np.abs(numbers).max(initial=0.0)
    if 0 < spread < _TINY_SPREAD * offset:
        found.append(f"varies by {spread / offset:.1g} of its size only")
    return found


def _doubts_on_texts(table: Table, name: str) -> list[str]:
    found = []
    tally = table.column(name).tally
    cells = table.texts(name).cells
    if len(cells) == 1 and len(table.lines) > 1:
        found.append("is constant")
    if len(cells) == len(table.lines) >= ENOUGH:
        found.append("holds another text in every row: an id?")
    if tally.is_text and table.options.na is None and tally.count(Kind.MISSING):
        words = sorted({cell for _, cell in tally.earliest(Kind.MISSING)})
        found.append(f"holds {quoted(words)} as a value like others (na= says what is missing)")
    number = table.options.format.number
    hinted = next((cell for cell in cells[:_LOOKED_AT] if number(cell) is None and table.hint(cell)), None)
    if hinted is not None:
        found.append(f"holds {shortened(hinted)}: {table.hint(hinted)}")
    numbers = tally.count(Kind.NUMBER)
    if numbers and tally.is_text:
        found.append(f"holds text, but also {numbers:,} number{'s' * (numbers > 1)}")
    return found

"""Features of a table that was read with roles: numbers, dates and categories, checked."""

from collections.abc import Sequence

from ...errors import UserError
from .cells import Role
from .roles import choose_role
from .table import Table


def feature_roles(table: Table) -> dict[str, Role]:
    """Return the role of each feature that was read with one, checked.

    Raises
    ------
    UserError
        If cells do not fit the others in their column.
    """
    roles = {name: table.read.columns[name].role for name in table.features}
    table.check_numbers([name for name, role in roles.items() if role == Role.NUMBER])
    for name, role in roles.items():
        tally = table.read.columns[name].tally
        if role == Role.DATE and tally.count(*tally.odd_kinds):
            raise UserError(f"{table.path}: column {name!r} {table.odd_cells(name)}")
    return roles


def settle_all(table: Table) -> None:
    """Decide the roles of columns whose first block did not show that they are text.

    Raises
    ------
    UserError
        If a column of text turned out to hold mostly numbers.
    """
    for name in () if table.read.typed else table.features:
        column = table.read.columns[name]
        if column.role == Role.NUMBER and column.tally.is_text:
            _settle_late(table, name)
        elif column.role == Role.CATEGORY and not column.tally.is_text and name not in table.categories:
            raise UserError(f"{table.path}: column {name!r} {table.odd_cells(name)}")


def _settle_late(table: Table, name: str) -> None:
    """Decide the role of a column whose first block did not show that it is text."""
    column = table.again([], [name]).column(name)
    column.role = Role.AUTO
    values = column.settle(*choose_role(column, table.options, table.path))
    if values is not None:
        table.raw[:, table.places[name]] = values
        table.read.columns[name] = column


def texts_of_category(table: Table, name: str) -> list[str]:
    """Return the distinct texts of a column of categories, whose places ``raw`` holds."""
    texts = table.read.columns[name].texts
    assert texts is not None
    return texts.cells


def missing_texts(table: Table, name: str, cells: Sequence[str]) -> set[int]:
    """Return which of the ``cells`` of a column of categories are missing values."""
    _, kinds = table.options.format.interpret(cells)
    wanted = table.missing_kinds(name)
    return {k for k, kind in enumerate(kinds.tolist()) if kind in wanted}

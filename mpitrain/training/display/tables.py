"""Tables as results of metrics, such as the confusion matrix: as lists for JSON, and as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .console import PlainConsole

MOST_ROWS = 20  # of a table that is printed; a larger one is in report.json


def to_lists(tables: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    """Return tables as nested lists, of integers if all values of a table are whole.

    >>> to_lists({"confusion": np.array([[3.0, 0.0], [1.0, 2.0]])})
    {'confusion': [[3, 0], [1, 2]]}
    """
    whole = {name: bool((table == np.floor(table)).all()) for name, table in tables.items()}
    return {name: (table.astype(np.int64) if whole[name] else table).tolist() for name, table in tables.items()}


def print_tables(console: "PlainConsole", tables: dict[str, Any], class_names: Sequence[str] = ()) -> None:
    """Print tables of ``to_lists``; rows of those of all classes, and columns of square ones, have their names."""
    from .text_table import Column, print_table

    for name, table in tables.items():
        if (
            isinstance(table, list)
            and 0 < len(table) == len(class_names) <= MOST_ROWS
            and not isinstance(table[0], list)
        ):
            rows = [[label, f"{value:.6g}"] for label, value in zip(class_names, table)]
            print_table(console, [Column("class", "word"), Column(name)], rows)
        elif not isinstance(table, list) or not table or not all(isinstance(row, list) for row in table):
            console.say(f"{name}: {table}")
        elif len(table) > MOST_ROWS:
            console.say(f"{name}: {len(table)} x {len(table[0])}, too large to print")
        else:
            labels = list(class_names) if len(class_names) == len(table) == len(table[0]) else []
            heads = labels or [str(k) for k in range(len(table[0]))]
            sides = labels or [str(k) for k in range(len(table))]
            rows = [[side, *(f"{value:,.6g}" for value in row)] for side, row in zip(sides, table)]
            print_table(console, [Column(name, "word"), *(Column(head) for head in heads)], rows)

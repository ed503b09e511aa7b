"""Tables in text files, as spreadsheets and data frames write them."""

from typing import TYPE_CHECKING

from ...later import import_later
from .options import KEYS, KEYS_OF, TABLES, CsvOptions, parse_csv_source

if TYPE_CHECKING:
    from .class_labels import class_labels
    from .source import csv_dataset, notes_on, open_csv, table_path, target_of
    from .table import Table, open_table
    from .target import Target, read_target

__all__ = [
    "KEYS",
    "KEYS_OF",
    "TABLES",
    "CsvOptions",
    "Table",
    "Target",
    "class_labels",
    "csv_dataset",
    "notes_on",
    "open_csv",
    "open_table",
    "parse_csv_source",
    "read_target",
    "table_path",
    "target_of",
]

__getattr__ = import_later(
    __name__,
    {
        "class_labels": "class_labels",
        "source": "csv_dataset notes_on open_csv table_path target_of",
        "table": "Table open_table",
        "target": "Target read_target",
    },
)

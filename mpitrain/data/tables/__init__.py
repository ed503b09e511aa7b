"""Tables in text files, as spreadsheets and data frames write them."""

from .options import KEYS, CsvOptions, parse_csv_source
from .source import csv_dataset, notes_on, open_csv, target_of
from .table import Table, open_table
from .target import Target, class_labels, read_target

__all__ = [
    "KEYS",
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
    "target_of",
]

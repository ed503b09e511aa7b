"""Text: sources of tokens, tokenizers, and windows of tokens to learn from."""

from typing import TYPE_CHECKING

from ...later import import_later
from .options import KEYS, TABLE_KEYS, TextOptions, has_text, parse_table_source, parse_text_source

if TYPE_CHECKING:
    from .classification import text_table_dataset, units_of_table, whole_text_table
    from .encode import Unit
    from .rows import TokenRows
    from .source import cut_windows, language_split, text_dataset, units_of_source, whole_text
    from .stream import TokenStream
    from .text_stream import TextStream
    from .tokenizer import ByteTokenizer, open_tokenizer
    from .windows import Windows

__all__ = [
    "KEYS",
    "TABLE_KEYS",
    "ByteTokenizer",
    "TextOptions",
    "TextStream",
    "TokenRows",
    "TokenStream",
    "Unit",
    "Windows",
    "cut_windows",
    "has_text",
    "language_split",
    "open_tokenizer",
    "parse_table_source",
    "parse_text_source",
    "text_dataset",
    "text_table_dataset",
    "units_of_source",
    "units_of_table",
    "whole_text",
    "whole_text_table",
]

__getattr__ = import_later(
    __name__,
    {
        "classification": "text_table_dataset units_of_table whole_text_table",
        "encode": "Unit",
        "rows": "TokenRows",
        "source": "cut_windows language_split text_dataset units_of_source whole_text",
        "stream": "TokenStream",
        "text_stream": "TextStream",
        "tokenizer": "ByteTokenizer open_tokenizer",
        "windows": "Windows",
    },
)

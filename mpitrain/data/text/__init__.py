"""Text: sources of tokens, tokenizers, and windows of tokens to learn from."""

from .encode import Unit
from .options import KEYS, TextOptions, parse_text_source
from .source import cut_windows, language_split, text_dataset, units_of_source, whole_text
from .stream import TokenStream
from .tokenizer import ByteTokenizer, open_tokenizer
from .windows import Windows

__all__ = [
    "KEYS",
    "ByteTokenizer",
    "TextOptions",
    "TokenStream",
    "Unit",
    "Windows",
    "cut_windows",
    "language_split",
    "open_tokenizer",
    "parse_text_source",
    "text_dataset",
    "units_of_source",
    "whole_text",
]

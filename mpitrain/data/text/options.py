"""The options of sources of text: ``text:PLACE,window=256``, ``tokens:DIR,vocabulary=50257``.

More in ``KEYS``.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import UserError
from ...suggest import did_you_mean
from ..source_options import check_place, given_once, split_options, whole_number
from ..tables import parse_csv_source

WINDOW, LONGEST = 256, 1 << 20  # tokens

KEYS = {
    "text": {
        "tokenizer": "bytes (the default), or a tokenizer.json of Hugging Face's tokenizers",
        "window": f"tokens of a sample (default {WINDOW})",
        "test": "file, directory or pattern of the test text, in place of the end of the text",
        "end_of_text": "none: the tokens of a sample see those of the documents before",
        "mask": "share of the tokens to hide and predict, as in 0.15 (for bert), in place of the next token",
    },
    "tokens": {
        "window": f"tokens of a sample (default {WINDOW})",
        "vocabulary": "number of token ids (by default what a meta.json, a meta.pkl or a header says, or the largest)",
        "end_of_text": "id of the token between documents, or none as above",
        "dtype": "uint16 or uint32, of files without a header (default uint16)",
        "mask": "as of text",
    },
}
"""The options of each kind of source and their meaning."""


TABLE_KEYS = {
    "text": "column (csv) or key (jsonl) of the text",
    "target": "column or key of the class",
    "test": "second file, with the same columns, as the test set",
    "tokenizer": KEYS["text"]["tokenizer"],
    "length": f"tokens of the longest sample; longer texts are cut (default {WINDOW})",
    "sep": "separator, of csv",
    "encoding": "encoding of the text, of csv",
}
"""The options of ``csv:FILE,text=COLUMN`` and ``jsonl:FILE,text=KEY``."""


@dataclass(frozen=True)
class TableOptions:
    """Options of texts in a table; see ``TABLE_KEYS``."""

    text: str
    target: str = ""
    test: str = ""
    tokenizer: str = "bytes"
    length: int = WINDOW
    sep: str = ""
    encoding: str = ""


def has_text(kind: str, place: str) -> bool:
    """Return whether what follows ``csv:`` or ``jsonl:`` names a column of text."""
    return kind == "jsonl" or (kind == "csv" and "text" in split_options(place, TABLE_KEYS)[1])


def parse_table_source(kind: str, text: str) -> tuple[str, TableOptions]:
    """Split what follows ``csv:`` or ``jsonl:`` into the place and the options.

    Raises
    ------
    UserError
        If an option is unknown, given twice, or has a value that it cannot have, or the text is not named.
    """
    place, given = split_options(text, TABLE_KEYS)
    check_place(kind, place, TABLE_KEYS)
    one = given_once(kind, text, given)
    for value in one.values():  # the name of a column may hold commas
        for key in re.findall(r",\s*([a-z_]+)=", value):
            if near := did_you_mean(key, TABLE_KEYS):
                raise UserError(f"{kind}:{place} has no option {key!r}{near}, only {', '.join(TABLE_KEYS)}")
    if not place or not one.get("text"):
        raise UserError(f"{kind}: say which text is classified, as in {kind}:FILE,text=NAME,target=NAME")
    if kind == "jsonl" and (one.get("sep") or one.get("encoding")):
        raise UserError("jsonl: lines of JSON are UTF-8 and have no separator: sep= and encoding= are for csv")
    parsed = parse_csv_source("x" + "".join(f",{key}={one[key]}" for key in ("sep", "encoding") if key in one))[1]
    return place, TableOptions(
        text=one["text"],
        target=one.get("target", ""),
        test=one.get("test", ""),
        tokenizer=one.get("tokenizer", "") or "bytes",
        length=whole_number(kind, one, "length", WINDOW, 1, LONGEST),
        sep=parsed.sep,
        encoding=parsed.encoding,
    )


@dataclass(frozen=True)
class TextOptions:
    """Options of a source of text; see ``KEYS``. 0, -1 and empty stand for what is not given."""

    window: int = WINDOW
    tokenizer: str = "bytes"
    test: str = ""
    vocabulary: int = 0
    end_of_text: int = -1
    dtype: str = ""
    separate: bool = True  # documents of a window
    mask: float = 0.0


def parse_text_source(kind: str, text: str) -> tuple[str, TextOptions]:
    """Split what follows ``text:`` or ``tokens:`` into the place and the options.

    Raises
    ------
    UserError
        If an option is unknown, given twice, or has a value that it cannot have.

    >>> parse_text_source("text", "novels,window=64")[1].window
    64
    """
    place, given = split_options(text, KEYS[kind])
    if not place:
        raise UserError(f"{kind}: say where the text is, as in {kind}:{'FILE' if kind == 'text' else 'DIR'}")
    check_place(kind, place, KEYS[kind])
    one = given_once(kind, text, given)
    end, dtype = one.get("end_of_text", ""), one.get("dtype", "")
    if kind == "text" and end not in ("", "none"):
        raise UserError(f"text: end_of_text={end} must be none: the token is the tokenizer's")
    if dtype not in ("", "uint16", "uint32"):
        raise UserError(f"{kind}: dtype= is uint16 or uint32, not {dtype!r}")
    options = TextOptions(
        window=whole_number(kind, one, "window", WINDOW, 1, LONGEST),
        tokenizer=one.get("tokenizer", "") or "bytes",
        test=one.get("test", ""),
        vocabulary=whole_number(kind, one, "vocabulary", 0, 1, 1 << 31),
        end_of_text=-1 if end == "none" else whole_number(kind, one, "end_of_text", -1, 0, 1 << 31),
        dtype=dtype,
        separate=end != "none",
        mask=_share(kind, one, "mask"),
    )
    return place, options


def _share(kind: str, given: Mapping[str, str], key: str) -> float:
    """Return a number between 0 and 1; 0 if it is not given."""
    text = given.get(key)
    with contextlib.suppress(ValueError):
        if text is None or 0 < float(text) < 1:
            return float(text or 0)
    raise UserError(f"{kind}: {key}={text} must be a number between 0 and 1, as in {key}=0.15")

"""Plain text for output: escaped names from outside, and numbers with their nouns."""

import unicodedata

BIDI = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of the text after them."""


def visible(text: str, keep: str = "") -> str:
    r"""Return ``text`` with control characters written as escapes, as Python writes them in a string.

    Also escaped are line and paragraph separators, characters that change the direction of writing, and lone
    surrogates, which stand for bytes of a path that are not UTF-8 and are printed as those bytes.

    Parameters
    ----------
    text : str
    keep : str
        Control characters to leave as they are.

    Examples
    --------
    >>> visible("runs/[red]\x1b[2J")
    'runs/[red]\\x1b[2J'
    >>> visible("two\nlines"), visible("two\nlines", keep="\n")
    ('two\\nlines', 'two\nlines')
    """
    if text.isprintable():
        return text
    return "".join(char if char in keep else _escape(char) for char in text)


def count(number: float, what: str) -> str:
    """Return a number and its noun.

    >>> count(1, "rank"), count(12345, "rank"), count(2, "microbatch")
    ('1 rank', '12,345 ranks', '2 microbatches')
    """
    return f"{number:,} {what}{'' if number == 1 else 'es' if what.endswith('tch') else 's'}"


def _escape(char: str) -> str:
    kind = unicodedata.category(char)
    if kind == "Cs" and "\udc80" <= char <= "\udcff":  # a byte that os.fsdecode could not decode
        return f"\\x{ord(char) - 0xDC00:02x}"
    if kind in ("Cc", "Cs", "Zl", "Zp") or char in BIDI:
        return char.encode("unicode_escape", "surrogatepass").decode("ascii")
    return char


def binary_size(num_bytes: float) -> str:
    """Return a number of bytes with a binary unit and suitable digits.

    >>> binary_size(132), binary_size(2300), binary_size(153128), binary_size(3 << 29)
    ('132 bytes', '2.2 KiB', '150 KiB', '1.5 GiB')
    """
    if num_bytes < 1000:
        return count(round(num_bytes), "byte")
    value, unit = num_bytes / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"

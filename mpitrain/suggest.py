"""Suggestions in messages about names that do not exist."""

import difflib
from collections.abc import Iterable

LIKENESS = 0.65  # of difflib's ratio: 1 for the same word
LISTED = 100  # settings are about 60


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the one of ``words`` that is most like ``word``, in upper or lower case; "" if none is near.

    >>> nearest("Digit", ["digits", "mnist"]), nearest("x", ["digits"])
    ('digits', '')
    """
    lowered = {other.lower(): other for other in words}
    near = difflib.get_close_matches(word.lower(), lowered, 1, LIKENESS)
    return lowered[near[0]] if near else ""


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return " (did you mean X?)" for the nearest of ``words``, "" if none is near.

    >>> did_you_mean("trian", ["train", "doctor"])
    " (did you mean 'train'?)"
    """
    near = nearest(word, words)
    return f" (did you mean {near!r}?)" if near else ""


def suggest(word: str, words: Iterable[str]) -> str:
    """Return "did you mean X?" for the nearest of ``words``; if none is near, the first ``LISTED`` of them.

    >>> suggest("bach_size", ["batch_size", "lr"]), suggest("x", ["batch_size", "lr"])
    ("did you mean 'batch_size'?", 'there are batch_size, lr')
    """
    words = list(words)
    near = nearest(word, words)
    more = f" and {len(words) - LISTED:,} more" if len(words) > LISTED else ""
    return f"did you mean {near!r}?" if near else f"there are {', '.join(words[:LISTED])}{more}"

"""Lines made of parts; on narrow terminals the least important parts are left out."""

from collections.abc import Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """Part of a line.

    Attributes
    ----------
    rank : int
        Parts with the largest rank are left out first, and those of rank 0 never.
    text : str
    room : int
        Characters to reserve where the text is shorter, so that lines that follow each other keep the same parts.
    """

    rank: int
    text: str
    room: int = 0


def fit_parts(parts: Sequence[Part], width: int | None) -> list[Part]:
    """Return the most important parts that fit ``width``, with a blank between each two.

    Parameters
    ----------
    parts : sequence of Part
    width : int or None
        Characters; None has room for all.

    Examples
    --------
    >>> parts = [Part(0, "epoch 1/2"), Part(1, "loss 0.5"), Part(3, "compute 90%"), Part(2, "9/s")]
    >>> [join_parts(fit_parts(parts, width)) for width in (None, 30)]
    ['epoch 1/2 loss 0.5 compute 90% 9/s', 'epoch 1/2 loss 0.5 9/s']
    >>> [join_parts(fit_parts(parts, width)) for width in (20, 5)]
    ['epoch 1/2 loss 0.5', 'epoch 1/2']
    """
    kept = [part for part in parts if part.text]
    while width is not None and _length(kept) > width and (worst := max(part.rank for part in kept)) > 0:
        kept = [part for part in kept if part.rank < worst]
    return kept


def join_parts(parts: Sequence[Part]) -> str:
    """Return the text of the parts, with a blank between each two."""
    return " ".join(part.text for part in parts)


def _length(parts: Sequence[Part]) -> int:
    return sum(max(len(part.text), part.room) + 1 for part in parts) - 1

"""Scores as text: percent for shares of the samples, else four digits."""

import re
from collections.abc import Iterator, Mapping


def score_texts(scores: Mapping[str, float], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each score, and its text with that name or the one that ``names`` has for it."""
    for name, value in scores.items():
        yield name, f"{names.get(name, name)} {show_score(name, value)}"


def show_score(name: str, value: float) -> str:
    """Return the value of a score as text.

    >>> show_score("accuracy", 0.98), show_score("loss", 0.123456)
    ('98.00%', '0.1235')
    """
    return f"{value:.2%}" if is_share(name) else f"{value:.4g}"


def show_scores(scores: Mapping[str, float]) -> str:
    """Return scores with their names as text."""
    return " ".join(text for _, text in score_texts(scores, {}))


def is_share(name: str) -> bool:
    """Return whether a score is a share of the samples, and so shown in percent."""
    return name == "accuracy" or re.fullmatch(r"top\d+", name) is not None

"""Values of runs as text."""

import time
from collections.abc import Sequence
from typing import Any

from ...monitor.runs import Record

NOTHING = "-"
TIMES = ("begun", "updated", "ended")


def say(name: str, value: Any) -> str:
    """Return a value of a run as the cell of a table.

    Examples
    --------
    >>> say("lr", 0.05), say("widths", [256, 128]), say("flip", False), say("reason", None)
    ('0.05', '256 128', 'false', '-')
    """
    from ...collectives.price.units import say_seconds

    if value is None or value in ("", []):
        return NOTHING
    if name in TIMES:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(value))
    if name == "seconds":
        return say_seconds(value)
    if name == "speed":
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return " ".join(say("", item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def say_of(run: Record, name: str) -> str:
    """Return the value ``name`` of a run as the cell of a table; the best score with that of its metric."""
    from ...training.display.score_text import show_score

    value = run.get(name)
    if name == "best" and value is not None:
        return f"{run['metric']} {show_score(run['metric'], value)}"
    _, slash, score = name.partition("/")
    return show_score(score, value) if slash and isinstance(value, float) else say(name, value)


def title(run: Record) -> str:
    """Return a run's id and name at the beginning of a line.

    >>> title({"id": 3, "name": "first"}), title({"id": 4, "name": ""})
    ('run 3, first', 'run 4')
    """
    return f"run {run['id']}, {run['name']}" if run["name"] else f"run {run['id']}"


def label(run: Record) -> str:
    """Return the name of a run with its id.

    >>> label({"id": 3, "name": "first"}), label({"id": 4, "name": ""})
    ('first (3)', '4')
    """
    return f"{run['name']} ({run['id']})" if run["name"] else str(run["id"])


def labels(runs: Sequence[Record]) -> list[str]:
    """Return the names of runs, with their ids where these are needed to tell them apart."""
    names = [run["name"] for run in runs]
    return [run["name"] if run["name"] and names.count(run["name"]) == 1 else label(run) for run in runs]

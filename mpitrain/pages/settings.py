"""The settings of the runs: those that differ, and all of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..config import Config
from .markup import Html, Text, folded, paragraph, section, table
from .overview import heads
from .run import Run
from .words import MISSING

OF_EACH_RUN = ("run.out",)


def settings(runs: Sequence[Run]) -> Html:
    """Return the section of settings; of one run those that are not the defaults come first."""
    found = [
        {f"{name}.{key}": value for name, keys in run.config.items() for key, value in keys.items()} for run in runs
    ]
    keys = list(dict.fromkeys(key for one in found for key in one))
    if not keys:
        return Html()
    rows = {key: [_say(one.get(key)) for one in found] for key in keys}
    if len(runs) > 1:
        chosen = [key for key in keys if len(set(rows[key])) > 1 and key not in OF_EACH_RUN]
        caption, nothing = "Settings that differ", "All settings are the same."
    else:
        usual = _defaults()
        chosen = [key for key in keys if key in usual and rows[key] != [usual[key]] and key not in OF_EACH_RUN]
        caption, nothing = "Settings other than the defaults, given or found", "All settings are the defaults."
    first = table(caption, heads(runs), _cells(rows, chosen)) if chosen else paragraph(nothing)
    return section("Settings", first, folded("All settings", table("All settings", heads(runs), _cells(rows, keys))))


def _cells(rows: dict[str, list[str]], keys: Sequence[str]) -> list[list[Text]]:
    return [[key, *rows[key]] for key in keys]


def _defaults() -> dict[str, str]:
    tables: dict[str, dict[str, Any]] = dataclasses.asdict(Config())
    return {f"{name}.{key}": _say(value) for name, keys in tables.items() for key, value in keys.items()}


def _say(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value) if value != "" else "(empty)"

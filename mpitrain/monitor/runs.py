"""Runs in the database, as records for ``mpitrain runs``: facts, settings and scores under one name each."""

import fnmatch
import json
import math
import operator
import re
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..suggest import did_you_mean
from ..training.directory.owner import Owner, current_owner, read_owner
from .database import TABLES

Record = dict[str, Any]
"""A run: its facts (``state``), settings (``batch-size``) and last scores (``test/loss``) by name."""

SILENT_SECONDS = 1800.0
"""Time without a sign of life after which a run whose process cannot be seen is taken for silent."""

FACTS = (
    *("id", "name", "state", "epoch", "step", "steps", "ranks", "model", "data", "parameters"),
    *("begun", "updated", "ended", "metric", "path", "host", "device", "mpi", "version", "reason"),
)
INTERNAL = ("key", "larger_is_better", "defaults", "settings", "best/split")
COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_CONDITION = re.compile(r"([\w/.-]+?)\s*(!=|<=|>=|=|<|>)\s*(.*)", re.S)


def read_runs(connection: sqlite3.Connection) -> list[Record]:
    """Return all runs, in the order in which they began."""
    connection.row_factory = sqlite3.Row
    me, now = current_owner(""), time.time()
    runs: dict[int, Record] = {}
    for row in connection.execute("SELECT * FROM runs ORDER BY id"):
        record = {name: row[name] for name in FACTS}
        record |= {"state": _state(row, me, now), "best": None, "best/step": None, "seconds": None, "speed": None}
        record |= {"key": row["key"], "larger_is_better": row["larger_is_better"], "defaults": set(), "settings": {}}
        runs[row["id"]] = record
    for run, name, value, is_default in connection.execute("SELECT run, name, value, is_default FROM settings"):
        runs[run]["settings"][name] = json.loads(value)
        runs[run].setdefault(name, runs[run]["settings"][name])
        if is_default:
            runs[run]["defaults"].add(name)
    for run, seconds in connection.execute("SELECT run, sum(seconds) FROM epochs GROUP BY run"):
        runs[run]["seconds"] = seconds
    for run, speed in connection.execute("SELECT run, samples_per_second FROM epochs ORDER BY step"):
        runs[run]["speed"] = speed
    for run, step, split, name, value in connection.execute(
        "SELECT run, step, split, name, value FROM scores ORDER BY step, split"
    ):
        _add_score(runs[run], step, split, name, value)
    return list(runs.values())


def _add_score(record: Record, step: int, split: str, name: str, value: float | None) -> None:
    """Set a later score, and the best one of the metric: of the validation samples where there are any."""
    record[f"{split}/{name}"] = value
    if name != record["metric"] or split == "train" or value is None:
        return
    if split == "validation" and record.get("best/split") == "test":
        record["best"] = None
    if split == "test" and record.get("best/split") == "validation":
        return
    best, larger = record["best"], record["larger_is_better"]
    if best is None or (value > best if larger else value < best):
        record |= {"best": value, "best/step": step, "best/split": split}


def _state(row: sqlite3.Row, me: Owner, now: float) -> str:
    """Return the state; a run that has ended without a word is ``killed``, or ``silent`` where one cannot know."""
    owner = read_owner((row["owner"] or "").encode())
    if row["state"] != "running":
        return str(row["state"])
    if owner is not None and owner.is_visible_from(me):
        return "running" if owner.lives() else "killed"
    return "silent" if now - row["updated"] > SILENT_SECONDS else "running"


def settings_of(run: Record) -> Record:
    """Return the settings of a run by name."""
    return dict(run["settings"])


def as_json(run: Record) -> Record:
    """Return the values of a run by name, without those that serve this program only."""
    return {name: value for name, value in run.items() if name not in INTERNAL}


def find_runs(runs: Sequence[Record], texts: Iterable[str]) -> list[Record]:
    """Return the runs that texts name: an id, a directory, or the name of one.

    Raises
    ------
    UserError
        If there is none, or more than one of a name.
    """
    return [_find(runs, text) for text in texts]


def _find(runs: Sequence[Record], text: str) -> Record:
    found = [run for run in runs if str(run["id"]) == text]
    found = found or [run for run in runs if run["path"] and Path(run["path"]) == Path(text).absolute()]
    found = found or [run for run in runs if run["name"] and run["name"] == Path(text).name == text]
    if len(found) == 1:
        return found[0]
    if found:
        last = found[-1]["id"]
        ids = ", ".join(str(run["id"]) for run in found)
        raise UserError(f"there are {len(found)} runs {text}: choose one by its id, {ids} (the last is {last})")
    near = did_you_mean(text, [run["name"] for run in runs if run["name"]])
    raise UserError(f"there is no run {text!r} in the database{near}; mpitrain runs list shows all, with their ids")


def select(runs: Sequence[Record], conditions: str) -> list[Record]:
    """Return the runs that fulfil conditions such as ``state=finished,lr>=0.01,model=mlp*``.

    Raises
    ------
    UserError
        For a condition of another form, or a name that no run has.
    """
    found = list(runs)
    for text in filter(None, (part.strip() for part in conditions.split(","))):
        match = _CONDITION.fullmatch(text)
        if not match:
            raise UserError(f"a condition is NAME=VALUE (or !=, <, <=, >, >=), not {text!r}")
        name, sign, value = match.groups()
        check_names(runs, [name])
        found = [run for run in found if _fulfils(run.get(name), sign, value)]
    return found


def check_names(runs: Sequence[Record], names: Iterable[str]) -> None:
    """Raise a UserError for a name that no run has."""
    known = list({name: None for run in runs for name in as_json(run)})
    for name in names:
        if runs and name not in known:
            raise UserError(
                f"no run has {name!r}{did_you_mean(name, known)}; names are facts, settings and scores, "
                "as in state, lr, test/accuracy"
            )


def _fulfils(value: Any, sign: str, text: str) -> bool:
    if sign in ("=", "!="):
        return _matches(value, text) == (sign == "=")
    try:
        return value is not None and bool(COMPARISONS[sign](float(value), float(text)))
    except (TypeError, ValueError):
        return False


def _matches(value: Any, text: str) -> bool:
    """Return whether a value is that of a text, or fits its wildcards."""
    if isinstance(value, bool):
        return str(value).lower() == text.lower()
    try:
        return math.isclose(float(value), float(text), rel_tol=1e-9)
    except (TypeError, ValueError):
        return fnmatch.fnmatchcase("" if value is None else str(value), text)


def order(runs: Sequence[Record], name: str, *, reverse: bool) -> list[Record]:
    """Return the runs in the order of a value; those without it are the last in any case."""
    check_names(runs, [name])
    with_it = [run for run in runs if run.get(name) is not None]
    numbers = all(isinstance(run[name], int | float) for run in with_it)
    with_it.sort(key=lambda run: run[name] if numbers else str(run[name]), reverse=reverse)
    return with_it + [run for run in runs if run.get(name) is None]


def read_rows(connection: sqlite3.Connection, table: str, runs: Sequence[Record]) -> tuple[list[str], list[list[Any]]]:
    """Return the columns of a table, and its rows of ``runs``."""
    assert table in TABLES
    names = [column[0] for column in connection.execute(f"SELECT * FROM {table} LIMIT 0").description]
    each = (connection.execute(f"SELECT * FROM {table} WHERE run = ?", (run["id"],)) for run in runs)
    return names, [list(row) for found in each for row in found]


def read_evaluations(connection: sqlite3.Connection, run: Record) -> list[Record]:
    """Return the evaluations of a run: epoch, step, lr, scores, speed and seconds by name."""
    found: dict[int, Record] = {}
    for step, epoch, lr in connection.execute("SELECT step, epoch, lr FROM epochs WHERE run = ?", (run["id"],)):
        found[step] = {"epoch": epoch, "step": step, "lr": lr}
    scores = "SELECT step, split, name, value FROM scores WHERE run = ? ORDER BY step, split DESC, name DESC"
    for step, split, name, value in connection.execute(scores, (run["id"],)):
        found[step][f"{split}/{name}"] = value
    more = "SELECT step, samples_per_second, seconds FROM epochs WHERE run = ?"
    for step, speed, seconds in connection.execute(more, (run["id"],)):
        found[step] |= {"speed": speed, "seconds": seconds}
    return list(found.values())


def delete_runs(connection: sqlite3.Connection, runs: Sequence[Record]) -> None:
    """Remove runs with all of their rows."""
    connection.executemany("DELETE FROM runs WHERE id = ?", [(run["id"],) for run in runs])

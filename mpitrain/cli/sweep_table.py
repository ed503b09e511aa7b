"""The table of a sweep on the terminal."""

import math
from typing import TYPE_CHECKING, Any

from ..collectives.price.units import say_seconds
from ..sweeps.plan import say
from ..sweeps.results import Mean, Row, means_of, rows_of
from ..sweeps.state import FINISHED
from ..training.display.score_text import show_score
from ..training.display.text_table import Column, print_table

if TYPE_CHECKING:
    from ..training.trials.sweep import Sweep

MOST_ROWS = 40
MOST_LETTERS = 70  # of a reason
NOTHING = "-"


def print_sweep(console: Any, sweep: "Sweep") -> None:
    """Print the means of the points where they have folds or seeds, else the trials; the best first."""
    spec = sweep.spec
    console.print()
    if spec.kfold or spec.seeds:
        means = means_of(sweep.trials, sweep.state)
        columns = [Column("point"), Column(spec.metric), Column("+-"), Column("trials"), Column("settings", "text")]
        print_table(console, columns, [_mean(spec.metric, one) for one in means[:MOST_ROWS]])
        _more(console, len(means), "points")
    rows = rows_of(sweep.trials, sweep.state)
    if spec.kfold or spec.seeds:
        rows = [row for row in rows if row.state.reason]
        if not rows:
            return
        console.print()
    columns = [Column("trial"), Column(spec.metric), Column("epoch"), Column("time"), Column("settings", "text")]
    print_table(console, columns, [_row(spec.metric, row) for row in rows[:MOST_ROWS]])
    _more(console, len(rows), "trials")


def _more(console: Any, count: int, what: str) -> None:
    if count > MOST_ROWS:
        console.say(f"... and {count - MOST_ROWS:,} more {what}, on the page")
    console.print()


def _row(metric: str, row: Row) -> tuple[str, ...]:
    state = row.state
    value = NOTHING if math.isnan(state.value) else show_score(metric, state.value)
    why = "" if state.status == FINISHED else _shortened(f"{state.status}{': ' if state.reason else ''}{state.reason}")
    epoch, time = (
        f"{state.epoch:g}" if state.epoch else NOTHING,
        say_seconds(state.seconds) if state.seconds else NOTHING,
    )
    return str(row.trial.number + 1), value, epoch, time, "; ".join(filter(None, [say(row.values), why]))


def _shortened(reason: str) -> str:
    """Return the beginning of a reason; all of it was printed when the trial ended, and is on the page."""
    return reason if len(reason) <= MOST_LETTERS else f"{reason[: MOST_LETTERS - 1].rstrip()}\u2026"


def _mean(metric: str, one: Mean) -> tuple[str, ...]:
    mean = NOTHING if math.isnan(one.mean) else show_score(metric, one.mean)
    deviation = NOTHING if math.isnan(one.deviation) else show_score(metric, one.deviation)
    return str(one.point + 1), mean, deviation, f"{one.done}/{one.count}", say(one.values) or "as in [train]"

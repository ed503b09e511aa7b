"""The page of a sweep: its best trials, parallel coordinates, the best value over time, and a table of all trials."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..svg import text
from ..sweeps.plan import say, say_value
from ..sweeps.results import Row, best_so_far, means_of, rows_of
from ..sweeps.state import FAILED, OVER, TIMED_OUT
from ..training.display.axis import tick_labels, value_axis
from ..training.display.score_text import is_share
from .charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, mark, svg
from .coordinates import parallel_coordinates
from .markup import MANY_ROWS, Html, Text, code, element, escape, folded, join, paragraph, section, table
from .page import document
from .words import MISSING, duration, figure, figures, moment

if TYPE_CHECKING:
    from ..training.trials.sweep import Sweep


def sweep_page(sweep: "Sweep", made: float | None = None) -> str:
    """Return the page, one file of HTML without network access and without a script.

    Parameters
    ----------
    sweep : Sweep
    made : float, optional
        The time that the page says it is from; now by default.
    """
    rows = rows_of(sweep.trials, sweep.state)
    parts = [_results(sweep, rows), _charts(sweep, rows), _means(sweep), _trials(sweep, rows), _description(sweep)]
    foot = f"mpitrain {__version__}, {moment(time.time() if made is None else made)}"
    return document(f"Sweep {sweep.spec.name}", join(parts), foot)


def _results(sweep: "Sweep", rows: Sequence[Row]) -> Html:
    spec, state = sweep.spec, sweep.state
    over = state.count(*OVER)
    counts: dict[str, int] = {}
    for trial in state.trials:
        counts[trial.status] = counts.get(trial.status, 0) + 1
    said = ", ".join(f"{number:,} {status}" for status, number in counts.items())
    bad = state.count(FAILED, TIMED_OUT)
    lines: list[list[Text]] = [
        ["method", spec.method],
        ["objective", f"{'largest' if spec.larger_is_better else 'smallest'} {spec.metric}"],
        ["trials over", f"{over:,} of {len(state.trials):,}"],
        ["time in trials", duration(sum(trial.seconds for trial in state.trials))],
    ]
    if rows and rows[0].has_value:
        best = rows[0]
        lines += [
            ["best trial", str(best.trial.number + 1)],
            [spec.metric, figure(spec.metric, best.state.value)],
            ["its scores", figures(_numbers(best.state.scores))],
            *(
                [["its test scores", figures(_numbers(best.state.test))]]
                if best.state.test != best.state.scores
                else []
            ),
            ["its settings", say(best.values) or MISSING],
        ]
    return section(
        "Results", paragraph(said, "failed" if bad == len(state.trials) else ""), table("The sweep", ["", ""], lines)
    )


def _charts(sweep: "Sweep", rows: Sequence[Row]) -> Html:
    lines = parallel_coordinates(rows, sweep.spec.parameters, sweep.spec.metric)
    return join([section("Parameters", lines), section("Progress", _best_curve(sweep, rows))])


def _best_curve(sweep: "Sweep", rows: Sequence[Row]) -> Html:
    """Return the best value over time as steps, and each trial at its end as a dot."""
    spec, state = sweep.spec, sweep.state
    ended = [row for row in rows if row.has_value and not math.isnan(row.state.ended)]
    if not ended or math.isnan(state.began):
        return Html()
    dots = [(max(0.0, row.state.ended - state.began), row.state.value, row.trial.number) for row in ended]
    steps = best_so_far(sweep.trials, state)
    most = max(seconds for seconds, _, _ in dots) or 1.0
    unit, scale = _unit(most)
    values = [value for _, value, _ in dots]
    percent = is_share(spec.metric) and min(values) >= 0 and max(values) <= 1
    x, y = value_axis([0.0, most / scale], LEFT, RIGHT), value_axis(values, BOTTOM, TOP, percent=percent)
    body = []
    for tick, label in zip(y.ticks, tick_labels(y.ticks, percent=percent), strict=True):
        body += [f"<path class='grid' d='M{LEFT} {y(tick):.1f}H{RIGHT}'/>", text(label, LEFT - 6, y(tick) + 4, "right")]
    body.append(f"<path class='base' d='M{LEFT} {BOTTOM}H{RIGHT}'/>")
    for tick, label in zip(x.ticks, tick_labels(x.ticks), strict=True):
        body += [f"<path class='base' d='M{x(tick):.1f} {BOTTOM}v4'/>", text(label, x(tick), BOTTOM + 17, "middle")]
    body.append(text(f"{unit} since the sweep began", (LEFT + RIGHT) / 2, BOTTOM + 33, "middle"))
    for seconds, value, number in dots:
        words = escape(f"trial {number + 1}: {spec.metric} {figure(spec.metric, value)} after {duration(seconds)}")
        path = mark(0, x(seconds / scale), y(value), 2.5)
        body.append(f"<path class='mark c0' d='{path}'><title>{words}</title></path>")
    line = "".join(
        f"{'H' if i else 'M'}{x(seconds / scale):.1f}{'V' if i else ' '}{y(value):.1f}"
        for i, (seconds, value, _) in enumerate(steps)
    )
    body.append(f"<path class='line c1' d='{line}H{RIGHT}'/>")
    said = ", then ".join(f"{figure(spec.metric, value)} after {duration(s)}" for s, value, _ in steps)
    picture = svg("best", f"Best {spec.metric} over time", f"{said}.", (WIDTH, HEIGHT), body)
    caption = element("figcaption", f"{spec.metric}: the best so far (line), and each trial at its end (dots)")
    return element("figure", join([caption, picture]))


def _means(sweep: "Sweep") -> Html:
    """Return the table of means over folds and seeds."""
    spec = sweep.spec
    if not spec.kfold and not spec.seeds:
        return Html()
    means = means_of(sweep.trials, sweep.state)[:MANY_ROWS]
    head = ["point", f"mean {spec.metric}", "standard deviation", "trials", *_names(sweep)]
    rows: list[list[Text]] = [
        [
            str(one.point + 1),
            figure(spec.metric, one.mean),
            figure(spec.metric, one.deviation),
            f"{one.done} of {one.count}",
            *(_value(one.values, name) for name in _names(sweep)),
        ]
        for one in means
    ]
    return section("Means", table("Mean over folds and seeds of each point, the best first", head, rows))


def _trials(sweep: "Sweep", rows: Sequence[Row]) -> Html:
    spec = sweep.spec
    folds, seeds = bool(spec.kfold), bool(spec.seeds)
    names = _names(sweep)
    head = ["trial", spec.metric, "status", "epoch", "time", *names]
    head += [*(["fold"] if folds else []), *(["seed"] if seeds else []), "rank", "reason"]
    lines: list[list[Text]] = []
    for row in rows[:MANY_ROWS]:
        state, bad = row.state, row.state.status in (FAILED, TIMED_OUT)
        status: Text = element("span", state.status, class_="failed") if bad else state.status
        cells: list[Text] = [str(row.trial.number + 1), figure(spec.metric, state.value), status]
        cells += [f"{state.epoch:g}" if state.epoch else MISSING, duration(state.seconds) if state.seconds else MISSING]
        cells += [_value(row.values, name) for name in names]
        cells += [str(row.trial.fold)] if folds else []
        cells += [str(spec.base.get("seed", spec.default.run.seed) + row.trial.seed)] if seeds else []
        lines.append([*cells, str(state.rank) if state.rank >= 0 else MISSING, state.reason])
    if not any(row.state.reason for row in rows[:MANY_ROWS]):
        head, lines = head[:-1], [line[:-1] for line in lines]
    left = f" ({MANY_ROWS} of {len(rows):,})" if len(rows) > MANY_ROWS else ""
    return section("Trials", table(f"All trials, the best first{left}", head, lines))


def _description(sweep: "Sweep") -> Html:
    """Return the file of the sweep, and the command to continue it."""
    spec, unfinished = sweep.spec, any(trial.status not in (*OVER, "paused") for trial in sweep.state.trials)
    command = f"mpitrain -n RANKS sweep {spec.name}.toml --out {sweep.directory} --resume"
    again = join([paragraph("To continue it:"), code(command)]) if unfinished else Html()
    return section("Description", again, folded(f"{spec.name}.toml", code(spec.text)))


def _names(sweep: "Sweep") -> list[str]:
    return [one.name for one in sweep.spec.parameters]


def _value(values: Mapping[str, Any], name: str) -> str:
    return say_value(values[name]) if name in values else MISSING


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit of an axis of times, and its seconds."""
    return ("hours", 3600.0) if seconds > 7200 else ("minutes", 60.0) if seconds > 180 else ("seconds", 1.0)

"""The first sections of a page: the runs and their results, and the curves over the steps."""

import math
from collections.abc import Iterator, Sequence

from ..plain_text import count
from . import facts
from .charts import COLORS, Line, line_chart, mark, sign
from .markup import Html, Text, element, folded, join, paragraph, section, table
from .run import SPLITS, Evaluated, Run
from .words import MISSING, duration, figure, figures, many

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def letters(runs: Sequence[Run]) -> list[str]:
    """Return a short name for each run: its own if it is alone, else A, B, and so on."""
    if len(runs) == 1:
        return [runs[0].name]
    return [
        LETTERS[k] if k < len(LETTERS) else f"{LETTERS[k % len(LETTERS)]}{k // len(LETTERS)}" for k in range(len(runs))
    ]


def heads(runs: Sequence[Run]) -> list[Text]:
    """Return the column heads of a table with a column for each run."""
    return ["", *(letters(runs) if len(runs) > 1 else ["value"])]


def overview(runs: Sequence[Run]) -> Html:
    """Return the section with the state and the results of each run."""
    lone = paragraph(runs[0].state.text, runs[0].state.kind)
    states = lone if len(runs) == 1 else _legend(runs, [f"{run.name}: {run.state.text}" for run in runs])
    problems = [f"{run.name}: {text}" if len(runs) > 1 else text for run in runs for text in run.problems]
    missing = element("ul", join(element("li", text) for text in problems), class_="problems") if problems else Html()
    rows: list[list[Text]] = []
    for name, values in (
        ("steps", [many(facts.number(run.final, "steps") if run.final else run.steps.last) for run in runs]),
        ("epochs", [_epochs(run) for run in runs]),
        *((f"{split}, last", [_last(run, split) for run in runs]) for split in SPLITS),
        ("best", [_best(run) for run in runs]),
        ("samples/s", [_speed(run) for run in runs]),
        ("seconds in all", [duration(facts.number(run.final, "seconds")) for run in runs]),
        ("ranks", [many(facts.number(run.start or run.report, "ranks")) for run in runs]),
        ("parameters", [many(facts.number(run.report, "parameters")) for run in runs]),
    ):
        if any(value != MISSING for value in values):
            rows.append([name, *values])
    return section(
        "Results", states, missing, table("Figures of each run" if len(runs) > 1 else "Figures", heads(runs), rows)
    )


def _legend(runs: Sequence[Run], texts: Sequence[str]) -> Html:
    """Return the letters of several runs with their colors and marks; empty for one."""
    lines = [
        element("li", join([sign(f"mark c{k % COLORS}", mark(k, 7, 7, 4)), element("strong", letter), text], " "))
        for k, (letter, text) in enumerate(zip(letters(runs), texts, strict=True))
    ]
    return element("ul", join(lines), class_="runs") if len(runs) > 1 else Html()


def _epochs(run: Run) -> str:
    if run.final:
        return many(facts.number(run.final, "epochs"))
    return f"{run.evaluations[-1].epoch} so far" if run.evaluations else MISSING


def _last(run: Run, split: str) -> str:
    return figures(run.evaluations[-1].scores.get(split, {})) if run.evaluations else MISSING


def _best(run: Run) -> str:
    best = dict(facts.table(run.final, "best"))
    scores = {name: facts.number(best, name) for name in best if name not in ("epoch", "step")}
    return f"{figures(scores)} (test, after step {facts.whole(best, 'step'):,})" if scores else MISSING


def _speed(run: Run) -> str:
    if run.final:
        return many(facts.number(run.final, "samples_per_second"))
    return many(run.evaluations[-1].samples_per_second) if run.evaluations else MISSING


def curves(runs: Sequence[Run]) -> Html:
    """Return the section with the curves, and the figures of each evaluation as tables."""
    drawn = [line_chart("loss", "loss", [*_step_lines(runs), *_score_lines(runs, "loss")])]
    names = dict.fromkeys(
        name for run in runs for e in run.evaluations for found in e.scores.values() for name in found
    )
    drawn += [
        line_chart(f"score-{k}", name, _score_lines(runs, name)) for k, name in enumerate(names) if name != "loss"
    ]
    rates = [
        _line(k, "test", letter, zip(run.steps.steps, run.steps.rates, strict=True)) for k, letter, run in _each(runs)
    ]
    speeds = [
        _line(k, "test", letter, ((e.step, e.samples_per_second) for e in run.evaluations))
        for k, letter, run in _each(runs)
    ]
    drawn += [line_chart("rate", "learning rate", rates), line_chart("speed", "samples/s", speeds)]
    charts = element("div", join(drawn), class_="charts") if any(drawn) else Html()
    note = "Training is dashed, validation dotted, test solid; pale lines are single steps." if charts else ""
    legend = _legend(runs, [run.name for run in runs]) if charts else Html()
    tables = [folded(f"Evaluations of {run.name} as a table", _evaluations(run)) for run in runs]
    return section("Curves", legend, paragraph(note, "soft"), charts, *tables)


def _each(runs: Sequence[Run]) -> Iterator[tuple[int, str, Run]]:
    for number, (letter, run) in enumerate(zip(letters(runs), runs, strict=True)):
        yield number, letter, run


def _line(number: int, split: str, name: str, points: object) -> Line:
    return Line(number, split, name, list(points))  # type: ignore[call-overload]


def _step_lines(runs: Sequence[Run]) -> list[Line]:
    return [
        _line(k, "step", f"{letter}, steps", zip(run.steps.steps, run.steps.losses, strict=True))
        for k, letter, run in _each(runs)
    ]


def _score_lines(runs: Sequence[Run], name: str) -> list[Line]:
    lines = []
    for k, letter, run in _each(runs):
        for split in SPLITS:
            points = [(e.step, e.scores.get(split, {}).get(name, math.nan)) for e in run.evaluations]
            lines.append(Line(k, split, f"{letter}, {split}", points))
    return lines


def _evaluations(run: Run) -> Html:
    columns = list(
        dict.fromkeys((split, name) for e in run.evaluations for split in SPLITS for name in e.scores.get(split, {}))
    )
    head = ["step", "epoch", *(f"{split} {name}" for split, name in columns), "samples/s"]
    rows = [_row(e, columns) for e in run.evaluations]
    return table(f"{count(len(rows), 'evaluation')} of {run.name}", head, rows)


def _row(e: Evaluated, columns: Sequence[tuple[str, str]]) -> list[Text]:
    cells = [figure(name, e.scores.get(split, {}).get(name, math.nan)) for split, name in columns]
    return [f"{e.step:,}", str(e.epoch), *cells, many(e.samples_per_second)]

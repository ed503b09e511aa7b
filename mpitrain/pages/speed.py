"""The time of a run: its shares on each rank, stragglers, and messages."""

import math
from collections.abc import Sequence

from ..plain_text import count
from . import facts
from .charts import bar_chart
from .markup import Html, Text, element, folded, join, paragraph, section, table
from .overview import heads
from .run import Run
from .words import MISSING, many, share, size

PARTS = ("compute", "input", "waiting", "sync")
MOST_RANKS = 64
MOST_EXCHANGES = 40


def times(runs: Sequence[Run]) -> Html:
    """Return the section on the time of each rank, and on ranks that others wait for."""
    return section("Time of each rank", *(_of_run(k, run, alone=len(runs) == 1) for k, run in enumerate(runs)))


def _of_run(number: int, run: Run, *, alone: bool) -> Html:
    rows = _shares(run)
    if not rows:
        return Html()
    note = "" if len(rows) <= MOST_RANKS else f" (the first {MOST_RANKS} of {len(rows):,})"
    chart = bar_chart(f"time-{number}", f"Shares of the time of a step{note}", rows[:MOST_RANKS], PARTS)
    cells: list[list[Text]] = [[name, *(share(shares.get(part, math.nan)) for part in PARTS)] for name, shares in rows]
    body = [
        chart,
        paragraph(_slowest(run)),
        *_changes(run),
        _pipeline(run),
        folded(f"Shares of {run.name} as a table", table(f"Time of {run.name}", ["", *PARTS], cells)),
    ]
    return join([Html() if alone else element("h3", run.name), *body])


def _shares(run: Run) -> list[tuple[str, dict[str, float]]]:
    """Return the shares of each rank; of a run that trains, those of rank 0 since the last evaluation."""
    of_rank = facts.tables(run.final, "time_share_of_rank")
    if of_rank:
        return [(f"rank {k}", {name: facts.number(one, name) for name in one}) for k, one in enumerate(of_rank)]
    return [("rank 0", run.evaluations[-1].time_share)] if run.evaluations and run.evaluations[-1].time_share else []


def _slowest(run: Run) -> str:
    said = facts.text(run.final, "slowest")
    return f"Slowest: {said}." if said else ""


def _changes(run: Run) -> list[Html]:
    """Return how the shares of a batch changed (--balance), and what that brought."""
    gain = facts.number(facts.table(run.report, "balance"), "measured_gain")
    effect = f"{abs(gain):.0%} {'shorter' if gain >= 0 else 'longer'}" if math.isfinite(gain) else ""
    words = f"Other shares of a batch made steps {effect}." if effect else ""
    rows: list[list[Text]] = [
        [
            f"{facts.whole(line, 'step'):,}",
            ", ".join(share(facts.as_number(value)) for value in facts.items(line, "shares")),
            share(facts.number(line, "expected_gain")),
        ]
        for line in run.balance
    ]
    head = ["step", "shares of the ranks", "expected gain"]
    return [paragraph(words), table("Changes of the shares of a batch", head, rows)]


def _pipeline(run: Run) -> Html:
    found = facts.table(run.report, "pipeline")
    stages, idle = facts.items(found, "stages_of_rank"), facts.items(found, "idle_of_rank")
    rows: list[list[Text]] = [
        [
            f"rank {k}",
            " and ".join(map(str, own)) if isinstance(own, list) else MISSING,
            share(facts.as_number(idle[k] if k < len(idle) else None)),
        ]
        for k, own in enumerate(stages)
    ]
    predicted = facts.number(found, "predicted_idle")
    note = (
        f"Schedule {facts.text(found, 'schedule')}, predicted idle time {share(predicted)} of a step." if rows else ""
    )
    return join([paragraph(note), table("Stages of the pipeline", ["", "stages", "idle"], rows)])


def messages(runs: Sequence[Run]) -> Html:
    """Return the section on the messages for the gradients of a step."""
    rows: list[list[Text]] = [
        ["algorithm", *(facts.text(run.report, "all_reduce") or MISSING for run in runs)],
        ["messages a step", *(many(facts.number(run.report, "messages_per_step")) for run in runs)],
        ["bytes a step", *(size(facts.number(run.report, "bytes_per_step")) for run in runs)],
        ["buckets", *(many(facts.number(run.report, "buckets")) for run in runs)],
        ["reason", *(_reason(run) for run in runs)],
    ]
    shown = [row for row in rows if any(cell != MISSING for cell in row[1:])]
    head = ["number", "algorithm", "messages", "bytes"]
    folds = [
        folded(f"Each exchange of {run.name}", table(f"Exchanges in a step, rank 0 of {run.name}", head, found))
        for run in runs
        if (found := _exchanges(run))
    ]
    return section("Messages", table("Messages of a rank for the gradients", heads(runs), shown), *folds)


def _reason(run: Run) -> str:
    """Return why there are these messages, or how many meetings there were with --sync."""
    sync = facts.table(run.report, "sync")
    if sync:
        meetings, steps = (facts.whole(sync, key) for key in ("meetings", "steps"))
        return f"{facts.text(sync, 'method')}: {count(meetings, 'meeting')} in {count(steps, 'step')}"
    alone = facts.whole(run.report, "ranks") == 1
    return "one rank, nothing to sum" if alone else facts.text(run.report, "all_reduce_reason") or MISSING


def _exchanges(run: Run) -> list[list[Text]]:
    """Return the exchanges of a step one by one, or of many those of one algorithm together."""
    found = facts.tables(run.report, "exchanges")
    if len(found) > MOST_EXCHANGES:
        names = dict.fromkeys(facts.text(one, "algorithm") for one in found)
        groups = [[one for one in found if facts.text(one, "algorithm") == name] for name in names]
    else:
        groups = [[one] for one in found]
    rows: list[list[Text]] = []
    done = 0
    for group in groups:
        label = str(done + 1) if len(group) == 1 else f"{len(group)} together"
        sums = [sum(facts.whole(one, key) for one in group) for key in ("messages", "bytes")]
        rows.append([label, facts.text(group[0], "algorithm"), many(sums[0]), size(sums[1])])
        done += len(group)
    return rows

"""The life of a run: starts, notes, faults and ends, checkpoints, its environment, and how to repeat it."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from ..plain_text import count
from ..training.directory.run_directory import CONFIG
from . import facts
from .markup import Html, Text, code, element, join, paragraph, section, table
from .run import Run
from .words import MISSING, many, moment, size

MOST_SKIPPED = 20
NEW = "NEW"


def faults(runs: Sequence[Run]) -> Html:
    """Return the section with everything that has happened to the runs besides their steps."""
    return section("Events and faults", *(_events(run, alone=len(runs) == 1) for run in runs))


def _events(run: Run, *, alone: bool) -> Html:
    rows: list[list[Text]] = [list(row) for row in _lines(run)]
    skipped = (
        f"{count(len(run.skipped), 'step')} skipped: their loss or gradient was not finite." if run.skipped else ""
    )
    body = [
        paragraph(skipped or "No step was skipped."),
        _skipped(run),
        _lost(run),
        table("Events", ["time", "step", "event"], rows),
    ]
    return join([Html() if alone else element("h3", run.name), *body])


def _lines(run: Run) -> Iterator[tuple[str, str, str]]:
    for event in run.events:
        kind, words = event.get("kind"), facts.text(event, "text")
        if kind == "start":
            ranks = count(facts.whole(event, "ranks"), "rank")
            words = f"resumed on {ranks}" if facts.whole(event, "step") else f"started on {ranks}"
        elif kind == "end":
            words = f"{'failed' if event.get('failed') is True else 'ended'}: {facts.text(event, 'reason')}"
        yield moment(facts.number(event, "time")), many(facts.number(event, "step")), words or MISSING


def _skipped(run: Run) -> Html:
    rows: list[list[Text]] = [
        [f"{facts.whole(line, 'step'):,}", facts.text(line, "reason")] for line in run.skipped[-MOST_SKIPPED:]
    ]
    few = len(rows) == len(run.skipped)
    return table("Skipped steps" if few else f"The last {MOST_SKIPPED} skipped steps", ["step", "reason"], rows)


def _lost(run: Run) -> Html:
    rows: list[list[Text]] = [
        [
            many(facts.number(loss, "step")),
            " ".join(map(str, facts.items(loss, "ranks"))),
            many(facts.number(loss, "ranks_left")),
        ]
        for loss in facts.tables(run.report, "losses")
    ]
    return table("Lost ranks", ["step", "ranks", "ranks left"], rows)


def checkpoints(runs: Sequence[Run]) -> Html:
    """Return the section on checkpoints: the files that are there, and what writing them has cost."""
    rows: list[list[Text]] = [
        [file.name, run.name, size(file.num_bytes), moment(file.written)] for run in runs for file in run.checkpoints
    ]
    costs: list[list[Text]] = []
    for run in runs:
        found = facts.table(run.report, "checkpoints")
        if facts.whole(found, "written") or facts.whole(found, "failed"):
            stalls = [f"{facts.number(found, key):.1f} ms" for key in ("stall_ms", "longest_stall_ms")]
            costs.append([run.name, many(facts.number(found, "written")), many(facts.number(found, "failed")), *stalls])
    nothing = "" if rows or costs else "There are no checkpoints."
    return section(
        "Checkpoints",
        paragraph(nothing),
        table("Files", ["checkpoint", "run", "size", "written"], rows),
        table("Writing", ["run", "written", "failed", "training stood still", "at most"], costs),
    )


def environment(runs: Sequence[Run]) -> Html:
    """Return the section on hosts, libraries and versions, as of the last start of each run."""
    rows = [[name, *values] for name, values in _environment(runs) if any(value != MISSING for value in values)]
    hosts: list[list[Text]] = [
        [
            facts.text(host, "host"),
            run.name,
            _ranks(facts.items(host, "ranks")),
            many(facts.number(host, "cores_per_rank")),
            facts.text(host, "processor"),
        ]
        for run in runs
        for host in facts.tables(run.start, "hosts")
    ]
    return section(
        "Environment",
        table("Software", ["", *(run.name for run in runs)], rows),
        table("Hosts", ["host", "run", "ranks", "cores of a rank", "processor"], hosts),
    )


def _environment(runs: Sequence[Run]) -> Iterator[tuple[str, list[str]]]:
    yield "MPI", [facts.text(run.start or run.report, "mpi") or MISSING for run in runs]
    versions = [facts.table(run.start, "versions") for run in runs]
    for name in dict.fromkeys(name for found in versions for name in found):
        yield name, [facts.text(found, name) or MISSING for found in versions]
    for name, key in (("system", "system"), ("batch job", "job")):
        yield name, [facts.text(run.start, key) or MISSING for run in runs]
    yield "devices", [", ".join(map(str, facts.items(run.start or run.report, "devices"))) or MISSING for run in runs]
    yield "precision", [facts.text(run.report, "precision") or MISSING for run in runs]


def _ranks(ranks: Sequence[Any]) -> str:
    """Return rank numbers with runs of neighbors as ranges: 0-3, 8."""
    numbers, parts = sorted(rank for rank in ranks if isinstance(rank, int)), list[list[int]]()
    for rank in numbers:
        if parts and rank == parts[-1][1] + 1:
            parts[-1][1] = rank
        else:
            parts.append([rank, rank])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def repeat(runs: Sequence[Run]) -> Html:
    """Return the section with the commands that were given, and one that repeats each run."""
    return section("Repeat it", *(_commands(run, alone=len(runs) == 1) for run in runs))


def _commands(run: Run, *, alone: bool) -> Html:
    given = [event for event in run.events if event.get("kind") == "start" and facts.text(event, "command")]
    lines: list[Html] = []
    for event in given:
        step, folder = facts.whole(event, "step"), facts.text(event, "folder")
        words = f"Resumed after step {step:,}" if step else "Started"
        lines += [paragraph(f"{words}, in {folder}:" if folder else f"{words}:"), code(facts.text(event, "command"))]
    if run.config:
        ranks = facts.whole(run.start or run.report, "ranks") or 1
        lines += [paragraph("The same settings in another directory:"), code(_again(run, ranks))]
    return join([Html() if alone else element("h3", run.name), *lines]) if lines else Html()


def _again(run: Run, ranks: int) -> str:
    return shlex.join(["mpitrain", "-n", str(ranks), "--config", str(run.path / CONFIG), "--out", NEW])

"""Sentences of a report that the terminal and the picture share: wrong results, losses, bounds, the verdict."""

from collections.abc import Mapping
from typing import Literal

from .counts import Bound, Counts, LineCount
from .picture import words_in_banks
from .report import Fault, Report
from .words import place, plural

Mood = Literal["bad", "better", "good"]
LEGEND = ". right  x wrong  o never written"


def sizes_words(sizes: Mapping[str, int]) -> str:
    """Return sizes as "m = 3, n = 5"."""
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())


def head_words(report: Report) -> list[str]:
    """Return what was run: the task, the launches, the launch's shape."""
    seeds = 1 + max(run["seed"] for run in report.runs)
    counted = [run for run in report.runs if run["counting"]]
    launches = f"{len(report.runs)} launches: {len(report.task.cases)} sizes, each in {plural(seeds, 'order')}"
    shape = f"grid {report.task.grid}, block {report.task.block}"
    return [
        f"{report.source.path.name}, kernel {report.entry.name}: {report.task.formula}",
        f"{launches} of the threads; counts with {sizes_words(counted[0]['sizes'])}",
        report.source.launch_text or f"Launch: {shape} (by default; a line // Launch: grid ..., block ... changes it)",
    ]


def where_words(fault: Fault, num_runs: int) -> str:
    """Return the runs in which a fault was found."""
    first = f"first with {sizes_words(fault.run['sizes'])}, seed {fault.run['seed']}"
    return f"{first}; in {fault.num_runs} of {num_runs} launches"


def wrong_words(report: Report) -> str:
    """Return a sentence on the first wrong result."""
    wrong, run = report.wrong, report.wrong_run
    assert wrong is not None
    assert run is not None
    index = "".join(f"[{i}]" for i in wrong["first"])
    never = f", {wrong['unwritten']:,} of them never written" if wrong["unwritten"] else ""
    return (
        f"wrong results in {report.num_wrong} of {len(report.runs)} launches; with {sizes_words(run['sizes'])}: "
        f"{wrong['array']}{index} is {wrong['found']}, not {float(wrong['wanted']):.6g}; wrong elements: "
        f"{wrong['count']:,} of {wrong['of']:,}{never}"
    )


def losses(counts: Counts) -> list[LineCount]:
    """Return the line that loses most, and the one with the worst ratio, of global and of shared memory."""
    found: list[LineCount] = []
    for shared in (False, True):
        lines = [line for line in counts.lines if line.is_shared == shared and line.loses]
        if lines:
            worst = [
                max(lines, key=lambda line: line.transactions - line.least),
                max(lines, key=lambda line: line.ratio),
            ]
            found += worst if worst[0] is not worst[1] else worst[:1]
    return found


def loss_words(line: LineCount) -> str:
    """Return a sentence on the worst access of a line."""
    who = f"warp {line.worst_warp} of block {place(line.worst_block, line.grid)}"
    if line.is_shared:
        banks = words_in_banks(line)
        words, used = plural(sum(banks), "word"), plural(sum(map(bool, banks)), "bank")
        turns = f"{plural(line.worst, 'turn')}, where {line.worst_least} would do"
        return f"bank conflicts in line {line.line}: {words} of {line.array} that {who} wants lie in {used}: {turns}"
    moved = f"{plural(line.worst, 'sector')} of {line.array}, {32 * line.worst:,} bytes"
    return (
        f"uncoalesced access in line {line.line}: {who} moves {moved}, where {line.worst_least} would hold the words "
        "that its lanes use"
    )


def loss_advice(line: LineCount) -> str:
    """Return how a loss is mended."""
    if line.is_shared:
        return (
            "Words whose places differ by a multiple of 32 share a bank: pad the rows by a column, or let neighboring "
            "lanes take neighboring words."
        )
    return (
        "Let neighboring lanes (threadIdx.x) touch neighboring elements of a row; a tile in shared memory can turn it."
    )


def rate_words(counts: Counts) -> str:
    """Return loads for a unit of work, and barriers."""
    rates = counts.rates
    loads = f"{rates['global loads']:.3g} of global memory, {rates['shared loads']:.3g} of shared memory"
    return f"loads for each {counts.task.unit}: {loads}; {plural(round(counts.barriers), 'barrier')} in a block"


def bound_words(counts: Counts) -> list[str]:
    """Return the bounds: the first sentence is on the bytes, then comes one for each machine."""
    goal = "the fp32 peak" if counts.of_peak else "the speed of a copy"
    moved, least = counts.moved_bytes, counts.task.least_bytes(counts.sizes)
    if counts.of_peak:
        first = f"each {counts.task.unit} loads {counts.words_loaded:.3g} words of global memory"
    else:
        first = f"{moved:,} bytes are moved in sectors, and the arrays have {least:,}"
    return [
        f"{first}; so by these counts:",
        *(
            f"{bound.machine.name}: at most {percent(bound.by_units)} of {goal} by load units and banks"
            f"{merged_words(bound)}, and {percent(bound.by_memory)} by memory{' if no cache helped' * counts.of_peak}"
            for bound in counts.bounds()
        ),
    ]


def merged_words(bound: Bound) -> str:
    """Return the share where a compiler merges accesses, if it is another."""
    merged = percent(bound.by_merged)
    return f" ({merged} if nvcc merges neighboring words)" if merged != percent(bound.by_units) else ""


def percent(share: float) -> str:
    """Return a share in percent, with a digit after the point where it is small."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def verdict(report: Report) -> list[tuple[str, Mood]]:
    """Return the last sentences: right or not, and the goals of the exercise that are missed."""
    if not report.right:
        parts = [plural(len(report.faults), "fault")] if report.faults else []
        parts += ["wrong results"] if report.wrong else []
        return [(f"not right: {' and '.join(parts)}", "bad")]
    if report.missed:
        return [
            (f"right, but not at the goal: {goal.words} (here {rate:.3g}, goal {goal.most:.3g} {goal.unit})", "better")
            for goal, rate in report.missed
        ]
    return [("right, and no fault was found" + (", and the goals are reached" if report.goals else ""), "good")]

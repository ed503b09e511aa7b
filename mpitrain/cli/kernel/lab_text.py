"""The report of the lab on the terminal."""

from typing import TYPE_CHECKING

from ...kernels.lab.counts import Counts, LineCount
from ...kernels.lab.picture import draw_banks, draw_sectors
from ...kernels.lab.report import Fault, Report
from ...kernels.lab.sentences import (
    LEGEND,
    bound_words,
    head_words,
    loss_advice,
    loss_words,
    losses,
    rate_words,
    sizes_words,
    verdict,
    where_words,
    wrong_words,
)
from ...training.display.text_table import Column, print_table
from ..terminal import make_console

if TYPE_CHECKING:
    from ...training.display.console import PlainConsole

STYLES = {"bad": "bold red", "better": "bold yellow", "good": "bold green"}
COLUMNS = (
    Column("line"),
    Column("access", "word"),
    Column("by warps"),
    Column("each takes"),
    Column("needs"),
    Column("", "word"),
    Column("", "word", "bold yellow"),
)


def show(report: Report) -> None:
    """Print faults, wrong results, counts, bounds and the verdict."""
    console = make_console()
    first, *others = head_words(report)
    console.say(first, "bold")
    for sentence in others:
        console.say(sentence)
    for number, fault in enumerate(report.faults, 1):
        _show_fault(console, number, fault, len(report.runs))
    if report.wrong:
        console.print()
        console.say(wrong_words(report), STYLES["bad"])
        _show_rows(console, [*report.wrong["picture"], LEGEND])
    if report.counts and report.right:
        _show_counts(console, report.counts)
        for line in losses(report.counts):
            _show_loss(console, line, report)
        console.print()
        for sentence in bound_words(report.counts):
            console.say(sentence)
    console.print()
    for sentence, mood in verdict(report):
        console.say(sentence, STYLES[mood])


def _show_fault(console: "PlainConsole", number: int, fault: Fault, num_runs: int) -> None:
    console.print()
    console.say(f"{number}. {fault.title}", STYLES["bad"])
    width = max((len(words) for words, _, _ in fault.accesses), default=0)
    _show_rows(console, [f"line {line:<4} {words:{width}}   {text}" for words, line, text in fault.accesses])
    console.say(f"    {where_words(fault, num_runs)}")
    console.say(f"    {fault.advice}", "bold")


def _show_counts(console: "PlainConsole", counts: Counts) -> None:
    console.print()
    what = "sectors of 32 bytes in global memory, turns of the 32 banks in shared memory"
    console.say(f"memory with {sizes_words(counts.sizes)}: {what}", "bold")
    rows = []
    for line in counts.lines:
        each, least = line.transactions / line.requests, line.least / line.requests
        numbers = (f"{line.requests:,}", f"{each:.1f}", f"{least:.1f}")
        loss = f"{line.ratio:.1f} times" if line.loses else ""
        rows.append((str(line.line), line.name, *numbers, "turns" if line.is_shared else "sectors", loss))
    print_table(console, COLUMNS, rows)
    console.say(rate_words(counts))


def _show_loss(console: "PlainConsole", line: LineCount, report: Report) -> None:
    console.print()
    console.say(loss_words(line), STYLES["better"])
    drawn = draw_banks(line) if line.is_shared else draw_sectors(line)
    _show_rows(console, [f"line {line.line:<4} {report.source.line(line.line)}", *drawn])
    console.say(f"    {loss_advice(line)}", "bold")


def _show_rows(console: "PlainConsole", rows: list[str]) -> None:
    for row in rows:
        console.print(f"    {row}", soft_wrap=True)

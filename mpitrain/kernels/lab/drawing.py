"""A report as one SVG file: faults, wrong elements, the worst accesses by bank and by sector, and the bounds."""

from textwrap import wrap

from ...svg import document, quote, text
from .counts import Counts, LineCount
from .diagrams import FINE, LOSS, MOODS, banks, beyond, race, sectors, wrong
from .report import Fault, Report
from .sentences import (
    bound_words,
    head_words,
    loss_advice,
    loss_words,
    losses,
    merged_words,
    percent,
    rate_words,
    sizes_words,
    verdict,
    where_words,
    wrong_words,
)

WIDTH, LEFT = 980, 28
LINE, GAP = 20, 18
LONGEST = {"": 120, "soft": 130, "part": 106, "code": 108}  # characters of a line
COLUMNS = (LEFT + 34, LEFT + 46, LEFT + 330, LEFT + 440, LEFT + 520)
STYLE = """
text { font: 400 14px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #10151c; }
.part { font-size: 15px; font-weight: 700; }
.soft { fill: #4a5563; font-size: 13px; }
.code { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; }
.right { text-anchor: end; }
.cell { font-size: 9px; text-anchor: middle; }
.light { fill: #ffffff; }
"""


class Page:
    """Elements from the top to the bottom."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 44.0

    def say(self, words: str, kind: str = "", indent: int = 0) -> None:
        """Add a text, on as many lines as it takes."""
        longest = LONGEST[kind] - indent // 8
        for line in [words[:longest]] if kind == "code" else wrap(words, longest):
            self.parts.append(text(line, LEFT + indent, self.y, kind))
            self.y += LINE

    def draw(self, drawing: tuple[str, float]) -> None:
        """Add a drawing whose own origin is its top left corner: its elements, and its height."""
        body, height = drawing
        self.parts.append(f'<g transform="translate({LEFT + 20} {self.y - 8:g})">{body}</g>')
        self.y += height + 8

    def bar(self, words: str, share: float) -> None:
        """Add a bar for a share of 1, with a frame for the whole, and words beside it."""
        color = FINE if share > 0.9 else LOSS
        self.parts += [
            f'<rect x="{LEFT + 20}" y="{self.y - 11:g}" width="{500 * share:.1f}" height="12" fill="{color}"/>',
            f'<rect x="{LEFT + 20}" y="{self.y - 11:g}" width="500" height="12" fill="none" stroke="{FINE}"/>',
        ]
        self.say(words, "soft", 540)

    def gap(self) -> None:
        """Add a space between parts."""
        self.y += GAP


def draw_svg(report: Report) -> str:
    """Return the picture of a report."""
    page = Page()
    first, *others = head_words(report)
    page.say(first, "part")
    for words in others:
        page.say(words, "soft")
    for words, mood in verdict(report):
        page.parts.append(f'<rect x="{LEFT}" y="{page.y - 10:g}" width="12" height="12" fill="{MOODS[mood]}"/>')
        page.say(words, "part", 20)
    for number, fault in enumerate(report.faults, 1):
        _fault(page, number, fault, len(report.runs))
    if report.wrong:
        page.gap()
        page.say(wrong_words(report), "part")
        page.draw(wrong(report.wrong["picture"]))
        page.say("light blue: right; red: wrong; white: never written", "soft")
    if report.counts and report.right:
        _counts(page, report.counts)
        for line in losses(report.counts):
            _loss(page, line, report)
        _bounds(page, report.counts)
    title = f"{report.source.path.name}: {verdict(report)[0][0]}"
    words = " ".join([*(fault.title + "." for fault in report.faults), *(loss for loss in _loss_texts(report))])
    return document(WIDTH, page.y + 8, title=title, description=words, style=STYLE, body="\n".join(page.parts))


def _loss_texts(report: Report) -> list[str]:
    return [loss_words(line) + "." for line in losses(report.counts)] if report.counts else []


def _fault(page: Page, number: int, fault: Fault, num_runs: int) -> None:
    page.gap()
    page.say(f"{number}. {fault.title}", "part")
    for i, (words, line, code) in enumerate(fault.accesses):
        page.say(f"line {line}: {words}", "", 20)
        if line not in [other for _, other, _ in fault.accesses[i + 1 :]]:
            page.say(code, "code", 40)
    if fault.kind == "race":
        page.draw(race(fault.details["element"], [(words, line) for words, line, _ in fault.accesses]))
    if fault.kind == "outside":
        page.draw(beyond(fault.details["index"], fault.details["count"], fault.details["array"]))
    page.say(where_words(fault, num_runs), "soft", 20)
    page.say(fault.advice, "", 20)


def _counts(page: Page, counts: Counts) -> None:
    page.gap()
    page.say(f"memory with {sizes_words(counts.sizes)}", "part")
    _row(page, ("line", "access", "by warps", "each takes", "needs"), "soft")
    for line in counts.lines:
        each, least = line.transactions / line.requests, line.least / line.requests
        unit = "turns" if line.is_shared else "sectors"
        top = page.y
        _row(page, (str(line.line), line.name, f"{line.requests:,}", f"{each:.1f}", f"{least:.1f} {unit}"), "")
        x, scale = LEFT + 620, 300 / 32
        page.parts.append(
            f'<rect x="{x}" y="{top - 10:g}" width="{min(32, each) * scale:.1f}" height="12" fill="{LOSS}"/>'
            f'<rect x="{x}" y="{top - 10:g}" width="{min(32, each, least) * scale:.1f}" height="12" fill="{FINE}"/>'
        )
    page.say(rate_words(counts), "soft")


def _row(page: Page, cells: tuple[str, ...], kind: str) -> None:
    for number, (cell, x) in enumerate(zip(cells, COLUMNS, strict=True)):
        name = f"{kind} right" if number in (0, 2, 3) else kind
        page.parts.append(f'<text class="{name}" x="{x}" y="{page.y:g}">{quote(cell)}</text>')
    page.y += LINE


def _loss(page: Page, line: LineCount, report: Report) -> None:
    page.gap()
    page.say(loss_words(line), "part")
    page.say(report.source.line(line.line), "code", 20)
    page.draw(banks(line) if line.is_shared else sectors(line))
    page.say(loss_advice(line), "", 20)


def _bounds(page: Page, counts: Counts) -> None:
    page.gap()
    first, *others = bound_words(counts)
    page.say(first, "part")
    for words, bound in zip(others, counts.bounds(), strict=True):
        page.say(words)
        page.bar(f"load units and banks: {percent(bound.by_units)}{merged_words(bound)}", bound.by_units)
        page.bar(f"memory: {percent(bound.by_memory)}", bound.by_memory)

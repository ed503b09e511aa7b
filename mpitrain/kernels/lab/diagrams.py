"""Drawings of the lab: a race, an index beyond its array, wrong elements, words in banks and in sectors.

Each function returns SVG elements, whose origin is their top left corner, and their height. Colors: Okabe and Ito 2008.
"""

from collections.abc import Sequence

from ...svg import text
from .counts import SECTOR_BYTES, LineCount
from .picture import BANKS, WORD, sectors_of

FINE, LOSS, BAD, PAPER = "#0072B2", "#E69F00", "#D55E00", "#eef2f6"
MOODS = {"bad": BAD, "better": LOSS, "good": "#009E73"}
CELL, LOW = 27, 15  # a bank's word
SMALL = 9  # an element of a result
PER_ROW = 4  # sectors
MOST_SECTORS = 32

Drawing = tuple[str, float]


def race(element: str, accesses: Sequence[tuple[str, int]]) -> Drawing:
    """Return two threads, the element that both touch, and the way of each access."""
    width, height, top = 300, 44, 6
    parts = [_box(330, top, 200, height, PAPER, BAD), text(element, 345, top + 27, "code")]
    for number, (words, line) in enumerate(accesses):
        x = number * (width + 260)
        begin, end = (x + width, 330) if number == 0 else (x, 530)
        parts.append(_box(x, top, width, height, PAPER, FINE))
        parts.append(text(words, x + 10, top + 18))
        parts.append(text(f"line {line}", x + 10, top + 36, "soft"))
        away = " reads " not in f" {words} "
        parts.append(_arrow(begin, end, top + height / 2) if away else _arrow(end, begin, top + height / 2))
    return "".join(parts), height + 2 * top + 8


def beyond(index: int, count: int, array: str) -> Drawing:
    """Return an array as a bar, and the place beyond it that was touched."""
    width, top, height = 560, 6, 26
    x = -30 if index < 0 else width + 20
    shift = 50 if index < 0 else 0
    parts = [_box(shift, top, width, height, PAPER, FINE), text(f"{array}[0]", shift + 8, top + 18, "code")]
    last = f"{array}[{count - 1}]"
    parts += [text(last, shift + width - 10 - 8 * len(last), top + 18, "code")] if count > 1 else []
    parts.append(_box(x + shift, top, 16, height, BAD, BAD))
    parts.append(text(f"{array}[{index}]", 0 if index < 0 else x + 24, top + (44 if index < 0 else 18), "code"))
    return "".join(parts), height + 2 * top + (22 if index < 0 else 4)


def wrong(rows: Sequence[str]) -> Drawing:
    """Return the elements of a result: right, wrong, or never written."""
    colors = {".": "#c3d4e6", "x": BAD, "o": "#ffffff"}
    parts = [
        f'<rect x="{SMALL * x}" y="{SMALL * y}" width="{SMALL - 1}" height="{SMALL - 1}" fill="{colors[sign]}" '
        f'stroke="{BAD if sign == "o" else colors[sign]}" stroke-width=".6"/>'
        for y, row in enumerate(rows)
        for x, sign in enumerate(row)
    ]
    return "".join(parts), SMALL * len(rows) + 14


def banks(line: LineCount) -> Drawing:
    """Return the 32 banks, and on each the words that lanes want of it, with a lane's number."""
    stacks: list[dict[int, int]] = [{} for _ in range(BANKS)]
    for word, lane in _lanes(line).items():
        stacks[word % BANKS][word] = lane
    tallest = max(map(len, stacks))
    parts = []
    for bank, stack in enumerate(stacks):
        x = CELL * bank
        parts.append(_box(x, LOW * tallest, CELL - 2, LOW, PAPER, "#8a95a3"))
        parts.append(text(str(bank), x + CELL / 2 - 1, LOW * tallest + 11, "cell"))
        for turn, (_, lane) in enumerate(sorted(stack.items())):
            y = LOW * (tallest - 1 - turn)
            parts.append(_box(x, y, CELL - 2, LOW - 1, FINE if turn < line.worst_least else LOSS, "none"))
            parts.append(text(str(lane), x + CELL / 2 - 1, y + 11, "cell light" if turn < line.worst_least else "cell"))
    words = "a column is a bank, a box a word, with the first lane that wants it; each row takes a turn"
    parts.append(text(words, 0, LOW * tallest + LOW + 18, "soft"))
    return "".join(parts), LOW * tallest + LOW + 32


def sectors(line: LineCount) -> Drawing:
    """Return the sectors that a warp moves, and in them the words that its lanes use."""
    found, lanes = sectors_of(line), _lanes(line)
    shown, each = found[:MOST_SECTORS], SECTOR_BYTES // WORD
    parts, wide, high = [], 21 * each + 24, 34
    for number, sector in enumerate(shown):
        left, top = number % PER_ROW * wide, number // PER_ROW * high
        parts.append(text(f"{line.array}[{sector.first_word}]", left, top + 10, "soft"))
        for i, used in enumerate(sector.used):
            parts.append(_box(left + 21 * i, top + 14, 19, 14, FINE if used else LOSS, "none"))
            lane = lanes.get(sector.first_word + i)
            parts += [text(str(lane), left + 21 * i + 9.5, top + 24, "cell light")] if lane is not None else []
    bottom = -(-len(shown) // PER_ROW) * high
    more = f"; {len(found) - len(shown)} more sectors" if len(shown) < len(found) else ""
    words = "each group of 8 words is a sector; blue: a lane uses the word; orange: it is moved for nothing"
    parts.append(text(words + more, 0, bottom + 14, "soft"))
    return "".join(parts), bottom + 28


def _lanes(line: LineCount) -> dict[int, int]:
    """Return the number of the first lane of each word."""
    found: dict[int, int] = {}
    for lane, offset in enumerate(line.offsets):
        for at in range(0, line.bytes if offset >= 0 else 0, WORD):
            found.setdefault((offset + at) // WORD, lane)
    return found


def _box(x: float, y: float, width: float, height: float, fill: str, stroke: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" stroke="{stroke}"/>'


def _arrow(begin: float, end: float, y: float) -> str:
    tip = 7 if end < begin else -7
    points = f"{end:g},{y:g} {end + tip:g},{y - 5:g} {end + tip:g},{y + 5:g}"
    return (
        f'<path d="M{begin:g} {y:g}H{end:g}" stroke="{BAD}" stroke-width="2"/><polygon points="{points}" fill="{BAD}"/>'
    )

"""Space-time diagrams as SVG: a line for each rank, an arrow for each message, from left to right in rounds.

The file is self-contained and needs no script: for slides, print and browsers. Every arrow has a description.
"""

import math
from xml.sax.saxutils import escape

from ...errors import UserError
from ...svg import document
from .names import name_chunks, name_set
from .palette import COPY, REDUCE, color, is_hatched
from .play import Message, Play

LANE, ROUND = 46, 124
LEFT, TOP, BOTTOM = 92, 92, 96
MAX_RANKS, MAX_ROUNDS = 64, 64
STYLE = """
text { font: 500 15px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #10151c; text-anchor: middle; }
.head { font-size: 24px; font-weight: 700; text-anchor: start; }
.soft { fill: #4a5563; font-size: 14px; }
.left { text-anchor: start; }
.right { text-anchor: end; }
.lane { stroke: #8a95a3; stroke-width: 1.5; }
.round { stroke: #d5dae0; stroke-width: 1; }
.arrow { stroke-width: 2.2; fill: none; }
.copy { stroke-dasharray: 7 4; }
.chunk { font-size: 13px; font-weight: 700; }
"""


def draw_svg(play: Play, max_rounds: int = MAX_ROUNDS) -> str:
    """Return the diagram of ``play``.

    Raises
    ------
    UserError
        For more ranks than can be distinguished.
    """
    if play.size > MAX_RANKS:
        raise UserError(f"a diagram of {play.size} ranks cannot be read; draw at most {MAX_RANKS}")
    num_rounds = min(play.num_rounds, max_rounds)
    hidden = play.num_rounds - num_rounds
    step = ROUND if num_rounds <= 24 else ROUND * 0.72
    right = LEFT + step * max(1, num_rounds)
    width, height = max(right + 130, 760), TOP + LANE * play.size + BOTTOM
    title = f"{play.name} with {play.size} ranks"
    parts = [_hatches(play), _text(title, 24, 38, "head")]
    for number in range(num_rounds + 1):
        x = LEFT + number * step
        parts.append(f'<line class="round" x1="{x:g}" y1="{TOP - 12}" x2="{x:g}" y2="{_y(play.size) - 18:g}"/>')
        if number < num_rounds:
            parts.append(_text(f"{number + 1}", x + step / 2, TOP - 18, "soft"))
    parts.append(_text("round", LEFT - 14, TOP - 18, "soft right"))
    final = play.states()[num_rounds] if play.num_chunks else []
    for rank in range(play.size):
        parts.append(f'<line class="lane" x1="{LEFT - 6}" y1="{_y(rank)}" x2="{right + 8:g}" y2="{_y(rank)}"/>')
        parts.append(_text(f"rank {rank}", LEFT - 14, _y(rank) + 5, "right"))
        if final:
            parts.append(_text(_holds(play, final[rank]), right + 16, _y(rank) + 5, "soft left"))
    drawn = [message for message in play.messages if message.round <= num_rounds]
    parts += [_arrow(play, message, step) for message in drawn]
    parts += [_chunk_label(play, m.sent, _label_x(play, m, step), _y(m.sender)) for m in drawn]
    parts += _legend(play, hidden)
    words = describe(play)
    return document(width, height, title=title, description=words, style=STYLE, body="\n".join(parts))


def describe(play: Play) -> str:
    """Return the description of the diagram for screen readers.

    Examples
    --------
    >>> from mpitrain.collectives import find
    >>> from mpitrain.collectives.draw.play import play
    >>> print(describe(play(find("tree"), 2)))
    2 ranks, 2 chunks, 2 rounds, 2 messages. Round 1: 1 to 0. Round 2: 0 to 1.
    """
    counts = f"{play.size} ranks, {play.num_chunks} chunks, {play.num_rounds} rounds, {len(play.messages)} messages."
    rounds = (
        f"Round {number}: {', '.join(f'{m.sender} to {m.receiver}' for m in messages)}."
        for number, messages in enumerate(play.rounds(), 1)
    )
    return " ".join([counts, *rounds])


def _hatches(play: Play) -> str:
    patterns = (
        f'<pattern id="hatch{n}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="6" height="6" fill="#fff"/><rect width="3.4" height="6" fill="{color(n)}"/></pattern>'
        for n in range(min(8, play.num_chunks))
    )
    return f"<defs>{''.join(patterns)}</defs>"


def _y(rank: int) -> float:
    return TOP + LANE * (rank + 0.5)


def _arrow(play: Play, message: Message, step: float) -> str:
    x0 = _label_x(play, message, step)
    x1 = LEFT + message.round * step - 13
    y0, y1 = _y(message.sender), _y(message.receiver)
    angle = math.atan2(y1 - y0, x1 - x0)
    stroke = REDUCE if message.reduce else COPY
    kind = "arrow" if message.reduce else "arrow copy"
    line = f'<line class="{kind}" stroke="{stroke}" x1="{x0:.1f}" y1="{y0:g}" x2="{x1:.1f}" y2="{y1:g}"/>'
    words = _words(play, message)
    return f"<g><title>{escape(words)}</title>{line}{_end(x1, y1, angle, message.reduce)}</g>"


def _label_x(play: Play, message: Message, step: float) -> float:
    """Return the middle of a label: on the line of its sender, where no other can be."""
    return LEFT + (message.round - 1) * step + 6 + _label_width(_chunk_name(play, message.sent)) / 2


def _chunk_name(play: Play, chunks: tuple[int, ...]) -> str:
    if len(chunks) == play.num_chunks:
        return "all"
    name = name_chunks(chunks)
    return name if len(name) <= 7 else f"{len(chunks)} ch"


def _label_width(name: str) -> float:
    return max(22, 8.2 * len(name) + 10)


def _words(play: Play, message: Message) -> str:
    what = "all chunks" if len(message.sent) == play.num_chunks > 1 else f"chunks {name_chunks(message.sent)}"
    if len(message.sent) == 1:
        what = f"chunk {message.sent[0]}"
    then = "adds" if message.reduce else "keeps"
    it = "it" if len(message.sent) == 1 else "them"
    return f"round {message.round}: rank {message.sender} sends {what} to rank {message.receiver}, which {then} {it}"


def _end(x: float, y: float, angle: float, reduce: bool) -> str:
    if reduce:
        return (
            f'<circle cx="{x:.1f}" cy="{y:g}" r="7.5" fill="{REDUCE}"/>'
            f'<path d="M{x - 4.5:.1f} {y:g}h9M{x:.1f} {y - 4.5:g}v9" stroke="#fff" stroke-width="2"/>'
        )
    points = [(x, y)] + [(x - 13 * math.cos(angle + t), y - 13 * math.sin(angle + t)) for t in (-0.42, 0.42)]
    return f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}" fill="{COPY}"/>'


def _chunk_label(play: Play, chunks: tuple[int, ...], x: float, y: float) -> str:
    name = _chunk_name(play, chunks)
    fill, ink = _fill(chunks[0]) if name != "all" and len(chunks) == 1 else ("#fff", "#10151c")
    width = _label_width(name)
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - 10:.1f}" width="{width:g}" height="20" rx="6" fill="{fill}" '
        f'stroke="#10151c" stroke-width="1"/>' + _text(name, x, y + 4.8, "chunk", ink)
    )


def _fill(chunk: int) -> tuple[str, str]:
    """Return the fill of a chunk's label, and the color of the number on it."""
    if is_hatched(chunk):
        return f"url(#hatch{chunk % 8})", "#10151c"
    red, green, blue = (int(color(chunk)[i : i + 2], 16) for i in (1, 3, 5))
    return color(chunk), "#10151c" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"


def _holds(play: Play, row: list[int]) -> str:
    """Return what a rank holds at the end, where it is the same in all chunks."""
    if len(set(row)) > 1 or not play.goal.same_chunks:
        return ""
    return f"holds {name_set(row[0], play.size)}"


def _legend(play: Play, hidden: int) -> list[str]:
    y = _y(play.size) + 14
    parts = [
        f'<line class="arrow" stroke="{REDUCE}" x1="28" y1="{y:g}" x2="74" y2="{y:g}"/>' + _end(78, y, 0, True),
        _text("added to what is there", 94, y + 5, "left"),
        f'<line class="arrow copy" stroke="{COPY}" x1="286" y1="{y:g}" x2="330" y2="{y:g}"/>' + _end(338, y, 0, False),
        _text("put in its place", 350, y + 5, "left"),
        _chunk_label(play, (0,) if play.num_chunks > 1 else (), 500, y) if play.num_chunks > 1 else "",
        _text("the chunk that travels", 520, y + 5, "left") if play.num_chunks > 1 else "",
    ]
    notes = [f"Goal: {play.goal.sentence}."]
    if hidden:
        notes.append(f"{hidden} more rounds are not drawn.")
    if play.error:
        notes.append(f"Wrong: {play.error}.")
    parts.append(_text(" ".join(notes), 28, y + 36, "soft left"))
    return parts


def _text(content: str, x: float, y: float, kind: str, fill: str = "") -> str:
    # the number on a chunk's label has a rim of the other color: it may lie on hatching
    rim = "#fff" if fill == "#10151c" else "none"
    paint = f' style="fill:{fill};stroke:{rim};stroke-width:2.5;paint-order:stroke"' if fill else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{paint}>{escape(content)}</text>'

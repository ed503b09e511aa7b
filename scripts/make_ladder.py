"""Write the predictions in docs/kernel-ladder.md and draw its pictures: banks, layouts of wgmma, phases of a ring.

python scripts/make_ladder.py
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mpitrain.kernels.ladder import RUNGS
from mpitrain.kernels.predicted.ladder import of_peak, predict
from mpitrain.svg import document, text

DOCS = Path(__file__).parent.parent / "docs"
PAGE, IMAGES = DOCS / "kernel-ladder.md", DOCS / "images"
SHAPES = (8192, 8192, 8192), (16384, 3072, 768)
BEGIN, END = "<!-- predicted: mpitrain kernel ladder -->\n", "<!-- end of the prediction -->"
STYLE = """
text { font: 500 14px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #10151c; }
.head { font-weight: 700; }
.soft { fill: #4a5563; font-size: 13px; }
.middle { text-anchor: middle; }
.on { fill: #ffffff; text-anchor: middle; font-size: 13px; }
.in { text-anchor: middle; font-size: 13px; }
"""
PLAIN, STRONG, FAINT, LINE = "#dde2e8", "#0072B2", "#f4f5f7", "#8a95a3"
FILLS, FULL, READ = "#E69F00", "#009E73", "#0072B2"


def box(x: float, y: float, width: float, height: float, fill: str, *, stroke: str = LINE) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}" stroke="{stroke}"/>'


def arrow(x0: float, y0: float, x1: float, y1: float) -> str:
    """Return a line with a head at its end."""
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    wings = f"M{x1 - 6 * dx - 4 * dy:.1f} {y1 - 6 * dy - 4 * dx:.1f} L{x1:.1f} {y1:.1f} "
    wings += f"L{x1 - 6 * dx + 4 * dy:.1f} {y1 - 6 * dy + 4 * dx:.1f}"
    return f'<path d="M{x0:.1f} {y0:.1f} L{x1:.1f} {y1:.1f} {wings}" fill="none" stroke="#10151c" stroke-width="1.5"/>'


def swizzle() -> str:
    """Eight rows of 128 bytes in the banks of shared memory: as they are, padded, and swizzled; one column is read."""
    layouts = {
        "rows as they are": lambda row, piece: 8 * row + piece,
        "rows padded by 16 bytes": lambda row, piece: 9 * row + piece,
        "pieces swizzled": lambda row, piece: 8 * row + (piece ^ row % 8),
    }
    wanted, side, gap, top = 2, 34, 60, 78
    body, width = [], 0.0
    for number, (name, place) in enumerate(layouts.items()):
        left = 30 + number * (8 * side + gap)
        width = left + 8 * side + 30
        body.append(text(name, left, 30, "head"))
        lines = 1 + max(place(row, piece) for row in range(8) for piece in range(8)) // 8
        banks: dict[int, int] = {}
        for row in range(8):
            for piece in range(8):
                at = place(row, piece)
                x, y = left + at % 8 * side, top + at // 8 * side
                taken = piece == wanted
                banks[at % 8] = banks.get(at % 8, 0) + taken
                body.append(box(x, y, side, side, STRONG if taken else PLAIN))
                body.append(text(f"{row}.{piece}", x + side / 2, y + 22, "on" if taken else "in"))
        for bank in range(8):
            body.append(text(f"{4 * bank}", left + (bank + 0.5) * side, top - 8, "soft middle"))
        passes = max(banks.values())
        body.append(text(f"{passes} pass{'es' if passes > 1 else ''}, {128 * lines} bytes", left, top + 9 * side + 26))
    body.append(
        text(
            f"above: the first of four banks; blue: what ldmatrix reads, piece {wanted} of rows 0 to 7", 30, 436, "soft"
        )
    )
    return document(
        width,
        452,
        title="Padding and swizzle",
        description="Eight rows of eight 16-byte pieces in 32 banks. Unchanged, one column of pieces lies in four "
        "banks and takes 8 passes; padded by a piece or swizzled by the row's number, 1 pass.",
        style=STYLE,
        body="\n".join(body),
    )


class Layout(NamedTuple):
    """A factor in shared memory: what rows and columns of a group are, and the distances that the descriptor has."""

    title: str
    rows: str
    columns: str
    stride: str
    leading: str
    step: str


LAYOUTS = (
    Layout(
        "contiguous in k: A (M, K), B (N, K)",
        "8 rows of the tile",
        "64 elements of k: 128 bytes",
        "stride byte offset 1024: the next 8 rows",
        "leading byte offset: not read",
        "k + 16: 32 bytes further",
    ),
    Layout(
        "contiguous in m or n: A (K, M), B (K, N)",
        "8 steps of k",
        "64 elements of m or n: 128 bytes",
        "stride byte offset 1024: the next 8 of k",
        "leading byte offset: the next 64 of m or n",
        "k + 16: 2048 bytes further",
    ),
)
FIELDS = (
    ("swizzle", "63-62", "1"),
    ("", "61-52", ""),
    ("base", "51-49", "0"),
    ("", "48-46", ""),
    ("stride / 16", "45-32", "64"),
    ("", "31-30", ""),
    ("leading / 16", "29-16", ""),
    ("", "15-14", ""),
    ("address / 16", "13-0", ""),
)


def descriptors() -> str:
    """Draw the two layouts that wgmma reads with 128-byte swizzle, and the bits of their descriptor."""
    body = []
    for number, layout in enumerate(LAYOUTS):
        left, top, width, height = 30 + number * 410, 60, 230, 62
        body.append(text(layout.title, left, 30, "head"))
        for group in range(2):
            y = top + group * (height + 8)
            body.append(box(left, y, width, height, PLAIN))
            body.append(text(layout.columns, left + width / 2, y + 26, "in"))
            body.append(text(f"{layout.rows}{'' if group == 0 else ', the next'}", left + width / 2, y + 46, "in"))
        body.append(arrow(left + width + 14, top + 4, left + width + 14, top + height + 12))
        body.append(text(layout.stride, left, top + 2 * height + 34, "soft"))
        body.append(text(layout.leading, left, top + 2 * height + 54, "soft"))
        body.append(text(layout.step, left, top + 2 * height + 74, "soft"))
        if number == 1:
            body.append(box(left + width + 30, top, 150, height, FAINT))
            body.append(text("64 more of m or n", left + width + 105, top + 36, "in"))
    x, y, total = 30.0, 318, 850
    body.append(text("the 64 bits of the descriptor (PTX ISA, matrix descriptor)", 30, y - 14, "head"))
    for name, bits, value in FIELDS:
        high, low = (int(bit) for bit in bits.split("-"))
        width = total * (high - low + 1) / 64
        body.append(box(x, y, width, 40, PLAIN if name else FAINT))
        if name:
            wide = width > 60
            body.append(
                text(
                    f"{name}{f' = {value}' if value and wide else ''}", x + width / 2, y + 25 if wide else y + 58, "in"
                )
            )
            body.append(text(bits, x + width / 2, y + (58 if wide else 76), "soft middle"))
        x += width
    return document(
        910,
        414,
        title="Layouts of wgmma's factors",
        description="Groups of eight rows of 128 bytes, 1024 bytes, follow each other; for a factor that is not "
        "contiguous in k a second distance leads to the next 64 columns. The descriptor holds address, both distances "
        "and the swizzle.",
        style=STYLE,
        body="\n".join(body),
    )


class Use(NamedTuple):
    """One use of a stage: from the request until the bytes are there, waiting, read until released."""

    stage: int
    lap: int
    requested: float
    arrived: float
    read: float
    released: float


def ring(stages: int, steps: int, *, fetch: float, multiply: float, issue: float) -> Iterator[Use]:
    """Yield the uses of a ring of stages by one producer and one consumer.

    A stage is requested when the use before it was released; boxes take ``fetch`` to come, products ``multiply``.
    """
    released = [0.0] * stages
    requested = consumer = 0.0
    for step in range(steps):
        requested = max(requested + issue, released[step % stages])
        arrived = requested + fetch
        read = max(arrived, consumer)
        consumer = read + multiply
        released[step % stages] = consumer
        yield Use(step % stages, step // stages, requested, arrived, read, consumer)


def phases() -> str:
    """Draw which phase the two barriers of each stage are in while a ring of four turns."""
    uses = list(ring(4, 12, fetch=3.2, multiply=1.5, issue=0.4))
    scale, left, top, lane = 40, 110, 64, 62
    end = max(use.released for use in uses)
    body = [text("a ring of four stages, three laps", 30, 30, "head")]
    for stage in range(4):
        y = top + stage * lane
        body.append(text(f"stage {stage}", 30, y + 25))
        body.append(box(left, y, end * scale, 36, FAINT))
    for use in uses:
        y = top + use.stage * lane
        for start, stop, fill, name in (
            (use.requested, use.arrived, FILLS, "boxes come"),
            (use.arrived, use.read, FULL, "full"),
            (use.read, use.released, READ, "read"),
        ):
            x, width = left + start * scale, (stop - start) * scale
            if width < 0.5:
                continue
            body.append(box(x, y, width, 36, fill))
            if width > 8 * len(name):
                body.append(text(name, x + width / 2, y + 23, "in" if fill == FILLS else "on"))
        for at, name in ((use.arrived, f"full {use.lap % 2}"), (use.released, f"empty {use.lap % 2}")):
            body.append(f'<path d="M{left + at * scale:.1f} {y} v44" stroke="#10151c" fill="none"/>')
            body.append(text(name, left + at * scale, y + 56, "soft middle"))
    y = top + 4 * lane + 18
    body.append(text("full P, empty P: this barrier has completed its phase of parity P.", left, y, "soft"))
    body.append(
        text(
            "In lap L the consumer waits for full, parity L % 2; the producer for empty, parity (L + 1) % 2.",
            left,
            y + 20,
            "soft",
        )
    )
    return document(
        left + end * scale + 40,
        y + 36,
        title="The phases of a ring",
        description="Four stages over time. Boxes come, the full barrier changes its phase, the stage is read, the "
        "empty barrier changes its phase, and the next boxes are requested. Phases alternate from lap to lap.",
        style=STYLE,
        body="\n".join(body),
    )


PICTURES = {
    "kernel-swizzle.svg": swizzle,
    "kernel-descriptors.svg": descriptors,
    "kernel-phases.svg": phases,
}


def predictions() -> str:
    """Return the Markdown table of all rungs for SHAPES."""
    lines = ["| rung | " + " | ".join(f"{' x '.join(map(str, s))} | limit" for s in SHAPES) + " |", "|---" * 5 + "|"]
    for rung in RUNGS:
        cells = []
        for m, n, k in SHAPES:
            seconds, limit = predict(rung, m, n, k)
            cells += [f"{2e-12 * m * n * k / seconds:.1f} ({of_peak(rung, m, n, k):.1%})", limit]
        lines.append(f"| {rung.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(old: str) -> str:
    """Return the page with its table written anew."""
    said = f"TFLOP/s on an H100 SXM, and the share of its peak in the rung's type:\n\n{predictions()}\n"
    found, count = re.subn(f"(?<={BEGIN})(?s:.*)(?={END})", lambda _: said, old)
    assert count == 1
    return found


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw())

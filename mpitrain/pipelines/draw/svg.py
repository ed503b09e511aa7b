"""Pipelines as SVG: a lane for each rank, a box for each task, hatches for idle time by its cause.

The file is self-contained and needs no script: for slides, print and browsers. Every box has a description.
"""

from collections.abc import Iterator

from ...errors import UserError
from ...svg import document, quote, text
from ..idle import CAUSES as ORDER
from ..price import Prediction
from .ascii import describe, describe_costs, name_task
from .palette import CAUSES, INK, tint

LANE, GAP = 34, 8
LEFT, TOP, BOTTOM, RIGHT = 84, 96, 64, 190
MIN_WIDTH, MAX_WIDTH = 620, 2400
NAME_WIDTH = 9.5  # pixels of a character
MAX_RANKS, MAX_TASKS = 64, 20_000
ACTS = {"F": "forward", "B": "backward", "W": "dw"}
REASONS = {
    "dependency": "waits for another rank",
    "imbalance": "waits for a slower stage",
    "message": "waits for a message",
}
STYLE = """
text { font: 500 14px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #10151c; }
.head { font-size: 22px; font-weight: 700; }
.soft { fill: #4a5563; font-size: 13px; }
.right { text-anchor: end; }
.task { font-size: 12px; font-weight: 700; text-anchor: middle; }
"""


def draw_svg(prediction: Prediction, recorded: Prediction | None = None) -> str:
    """Return the diagram.

    Parameters
    ----------
    prediction : Prediction
    recorded : Prediction, optional
        The recorded run of the same tasks, drawn below, in the same scale.

    Raises
    ------
    UserError
        If there are more ranks or tasks than can be distinguished.
    """
    timeline, program = prediction.timeline, prediction.timeline.program
    num_tasks = sum(map(len, timeline.begins))
    if program.size > MAX_RANKS or num_tasks > MAX_TASKS:
        raise UserError(
            f"a diagram of {program.size} ranks and {num_tasks:,} tasks cannot be read; draw at most {MAX_RANKS} ranks "
            f"and {MAX_TASKS:,} tasks"
        )
    runs = [prediction, *([recorded] if recorded else [])]
    total = max(run.timeline.total for run in runs) or 1.0
    scale = _scale(runs, total)
    height = (LANE + GAP) * program.size + 34
    parts = [_hatches(), text(_title(prediction), 24, 36, "head")]
    if not recorded:
        parts.append(text(describe_costs(prediction), 24, 62, "soft"))
    for number, run in enumerate(runs):
        top = TOP + number * height
        if recorded:
            words = f"{'recorded' if number else 'predicted'}: {describe_costs(run)}"
            parts.append(text(words, LEFT, top - 10, "soft"))
        parts += _lanes(run, top, scale, total)
    bottom = TOP + len(runs) * height
    parts += _legend(prediction, runs, bottom)
    if timeline.error:
        parts.append(text(f"Wrong: {timeline.error}.", 24, bottom + 48, "soft"))
    width = max(LEFT + total * scale + RIGHT, MIN_WIDTH)
    words = f"{describe(prediction)}. {_describe_ranks(prediction)}"
    return document(
        width, bottom + BOTTOM, title=_title(prediction), description=words, style=STYLE, body="\n".join(parts)
    )


def _title(prediction: Prediction) -> str:
    program = prediction.timeline.program
    return f"{program.name} on {program.size} ranks, {program.num_microbatches} microbatches"


def _describe_ranks(prediction: Prediction) -> str:
    price = prediction.price
    return " ".join(
        f"Rank {rank}: idle {bubble:.0%}, holds {live:.3g} microbatches."
        for rank, (bubble, live) in enumerate(zip(price.bubbles, price.live, strict=True))
    )


def _scale(runs: list[Prediction], total: float) -> float:
    """Return pixels a unit of time: the shortest task has room for its name, in a picture that is not too wide."""
    lengths = [
        end - begin
        for run in runs
        for begins, ends in zip(run.timeline.begins, run.timeline.ends, strict=True)
        for begin, end in zip(begins, ends, strict=True)
    ]
    program = runs[0].timeline.program
    name = NAME_WIDTH * (len(f"F{program.num_microbatches - 1}") + (program.num_stages > program.size)) + 4
    shortest = min((length for length in lengths if length > 0), default=total)
    return min(max(name / shortest, (MIN_WIDTH - LEFT - RIGHT) / total), MAX_WIDTH / total)


def _lanes(run: Prediction, top: float, scale: float, total: float) -> Iterator[str]:
    timeline, program, price = run.timeline, run.timeline.program, run.price
    for rank in range(program.size):
        y = top + rank * (LANE + GAP)
        yield text(f"rank {rank}", LEFT - 12, y + LANE / 2 + 5, "right")
        note = f"idle {price.bubbles[rank]:.0%}, holds {price.live[rank]:.3g}"
        yield text(note, LEFT + total * scale + 12, y + LANE / 2 + 5, "soft")
        for _, begin, end, cause in run.idle[rank]:
            x, width = LEFT + (begin - timeline.first) * scale, (end - begin) * scale
            words = f"rank {rank} {REASONS[cause]} from {_when(run, begin)} to {_when(run, end)}"
            yield (
                f"<g><title>{quote(words)}</title>"
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{LANE}" fill="url(#{cause})"/></g>'
            )
        stages = program.stages_of[rank]
        for task, begin, end in zip(program.tasks[rank], timeline.begins[rank], timeline.ends[rank], strict=False):
            x, width = LEFT + (begin - timeline.first) * scale, (end - begin) * scale
            fill = tint(task.kind, stages.index(task.stage), len(stages))
            act = "dx" if task.kind == "B" and program.is_split else ACTS[task.kind]
            words = f"rank {rank}: {act} of microbatch {task.microbatch} on stage {task.stage}"
            name = name_task(program, task)
            label = ""
            if NAME_WIDTH * len(name) <= width:
                ink = INK[task.kind] if stages.index(task.stage) == 0 else "#10151c"
                label = (
                    f'<text class="task" x="{x + width / 2:.1f}" y="{y + LANE / 2 + 4:.1f}" style="fill:{ink}">'
                    f"{name}</text>"
                )
            yield (
                f"<g><title>{quote(words)}, {_when(run, begin)} to {_when(run, end)}</title>"
                f'<rect x="{x:.1f}" y="{y}" width="{max(0.5, width - 0.8):.1f}" height="{LANE}" rx="2" fill="{fill}"/>'
                f"{label}</g>"
            )


def _when(run: Prediction, moment: float) -> str:
    return run.say_time(moment - run.timeline.first)


def _hatches() -> str:
    """Return a pattern for each cause: dots, lines that fall, lines that rise."""
    shapes = {
        "dependency": '<circle cx="4" cy="4" r="1" fill="{}"/>',
        "imbalance": '<path d="M0 0L8 8M-2 6L2 10M6 -2L10 2" stroke="{}" stroke-width="1.8"/>',
        "message": '<path d="M0 8L8 0M-2 2L2 -2M6 10L10 6" stroke="{}" stroke-width="1.8"/>',
    }
    patterns = (
        f'<pattern id="{cause}" width="8" height="8" patternUnits="userSpaceOnUse"><rect width="8" height="8" '
        f'fill="#f4f5f7"/>{shapes[cause].format(color)}</pattern>'
        for cause, color in CAUSES.items()
    )
    return f"<defs>{''.join(patterns)}</defs>"


def _legend(prediction: Prediction, runs: list[Prediction], y: float) -> Iterator[str]:
    program, x = prediction.timeline.program, 24.0
    kinds = "FBW" if program.is_split else "FB"
    items = [(tint(kind, 0, 1), "dx" if kind == "B" and program.is_split else ACTS[kind]) for kind in kinds]
    there = {one.cause for run in runs for own in run.idle for one in own}
    items += [(f"url(#{cause})", REASONS[cause]) for cause in ORDER if cause in there]
    for fill, words in items:
        yield f'<rect x="{x:.1f}" y="{y:.1f}" width="22" height="16" rx="2" fill="{fill}" stroke="#8a95a3"/>'
        yield text(words, x + 30, y + 13)
        x += 30 + 7.4 * len(words) + 22
    if program.num_stages > program.size:
        yield text("a, b: first, second stage of the rank (lighter)", x, y + 13, "soft")

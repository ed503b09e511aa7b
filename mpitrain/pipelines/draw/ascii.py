"""Pipelines as text: a line for each rank, time from left to right, in blocks that fit the terminal."""

import math
import textwrap
from itertools import pairwise

from ...plain_text import count
from ..check import say_live
from ..idle import Idle
from ..price import Prediction
from ..program import Program
from ..simulate import Timeline
from ..task import Task

WIDTH = 80
MAX_RANKS, LAST_RANKS = 16, 2
MAX_BLOCKS = 8
MOST_TASKS = 5000
MARKS = {"dependency": " ", "imbalance": "!", "message": "~"}


def draw_ascii(prediction: Prediction, width: int = WIDTH) -> str:
    """Return the tasks of all ranks over time, in lines of at most ``width`` columns.

    Examples
    --------
    >>> from mpitrain.pipelines import find
    >>> from mpitrain.pipelines.price import predict
    >>> print(draw_ascii(predict(find("1f1b"), 3, 4)))
    1f1b, 3 ranks, 4 microbatches: step 18, bubble 33.3%, held 3 2 1
    F0 forward of microbatch 0, B0 backward; blank: waits for another rank
    <BLANKLINE>
    rank 0 F0F1F2        B0--F3B1--  B2--  B3--
    rank 1   F0F1    B0--F2B1--F3B2--  B3--
    rank 2     F0B0--F1B1--F2B2--F3B3--
    """
    timeline, program = prediction.timeline, prediction.timeline.program
    lines = [part for text in (describe(prediction), _legend(prediction)) for part in textwrap.wrap(text, width)]
    label = len(f"rank {program.size - 1} ")
    cell = _longest_name(program)
    block = max(cell, (width - label) // cell * cell)  # names are not cut at its end
    scale = _scale(timeline, cell, block)
    rows = [_row(timeline, prediction.idle[rank], rank, scale) for rank in range(program.size)]
    shown = list(range(program.size))
    if program.size > MAX_RANKS:
        shown = [*shown[: MAX_RANKS - LAST_RANKS], *shown[-LAST_RANKS:]]
        lines.append(f"({len(shown)} of {program.size} ranks)")
    for first in range(0, max(map(len, rows)), block):
        lines.append("")
        for before, rank in pairwise([-1, *shown]):
            if rank != before + 1:
                lines.append("...")
            lines.append(f"{f'rank {rank}'.ljust(label)}{rows[rank][first : first + block]}".rstrip())
    if timeline.error:
        lines += ["", f"wrong: {timeline.error}"]
    return "\n".join(lines)


def is_drawable(program: Program) -> bool:
    """Return whether a picture of the program is of use."""
    return sum(map(len, program.tasks)) <= MOST_TASKS


def draw_tasks(program: Program, most: int = 12) -> str:
    """Return the first tasks of the first, the middle and the last rank, for programs too large for pictures."""
    lines = [
        f"{program.name}, {program.size:,} ranks, {program.num_microbatches:,} microbatches: too many for a picture; "
        "the first tasks of three ranks",
        "",
    ]
    for rank in sorted({0, program.size // 2, program.size - 1}):
        own = program.tasks[rank]
        names = [name_task(program, task) for task in own[:most]]
        lines.append(f"rank {rank}  {' '.join(names)}{' ...' if len(own) > most else ''}")
    return "\n".join(lines)


def describe(prediction: Prediction) -> str:
    """Return one line on a run: step, bubble and memory."""
    program = prediction.timeline.program
    m = program.num_microbatches
    counts = f"{program.name}, {count(program.size, 'rank')}, {m} microbatch{'es' if m > 1 else ''}"
    return f"{counts}: {describe_costs(prediction)}"


def describe_costs(prediction: Prediction) -> str:
    """Return step, bubble and memory of a run in a few words."""
    timeline = prediction.timeline
    step = prediction.say_time(timeline.total)
    return f"step {step}, bubble {timeline.bubble:.1%}, held {say_live(timeline.live)}"


def name_task(program: Program, task: Task) -> str:
    """Return a task in a few characters: F3, or F3b on the second stage of its rank."""
    kind, stage, microbatch = task
    return f"{kind}{microbatch}{_letters(program, program.rank_of[stage])[stage]}"


def _legend(prediction: Prediction) -> str:
    program = prediction.timeline.program
    several = program.num_stages > program.size
    name = "0a" if several else "0"
    kinds = [f"B{name} {'dx' if program.is_split else 'backward'}", *([f"W{name} dw"] if program.is_split else [])]
    words = f"F{name} forward of microbatch 0, {', '.join(kinds)}"
    words += "; a, b: first, second stage of the rank" if several else ""
    causes = {one.cause for own in prediction.idle for one in own}
    notes = ["blank: waits for another rank"] if "dependency" in causes else []
    notes += ["! for a slower stage"] if "imbalance" in causes else []
    notes += ["~ for a message"] if "message" in causes else []
    return f"{words}; {', '.join(notes)}" if notes else words


def _longest_name(program: Program) -> int:
    return len(f"F{program.num_microbatches - 1}") + (program.num_stages > program.size)


def _scale(timeline: Timeline, cell: int, block: int) -> float:
    """Return columns a unit of time: the shortest task has room for its name, unless that takes too many blocks."""
    lengths = (
        end - begin
        for begins, ends in zip(timeline.begins, timeline.ends, strict=True)
        for begin, end in zip(begins, ends, strict=True)
    )
    shortest = min((length for length in lengths if length > 0), default=1.0)
    return min(cell / shortest, MAX_BLOCKS * block / (timeline.total or 1.0))


def _row(timeline: Timeline, idle: list[Idle], rank: int, scale: float) -> str:
    """Return all of a rank's time."""
    program, first = timeline.program, timeline.first
    cells = [" "] * math.ceil(timeline.total * scale)

    def put(begin: float, end: float, text: str, fill: str) -> None:
        left, right = round((begin - first) * scale), round((end - first) * scale)
        cells[left:right] = list(text[: right - left].ljust(right - left, fill))

    for _, begin, end, cause in idle:
        put(begin, end, "", MARKS[cause])
    letters = _letters(program, rank)
    for task, begin, end in zip(program.tasks[rank], timeline.begins[rank], timeline.ends[rank], strict=False):
        put(begin, end, f"{task.kind}{task.microbatch}{letters[task.stage]}", "-")
    return "".join(cells).rstrip()


def _letters(program: Program, rank: int) -> dict[int, str]:
    """Return the letter of each stage of a rank: a, b, c in the order of the model; none for an only one."""
    own = program.stages_of[rank]
    return {stage: chr(ord("a") + number % 26) if len(own) > 1 else "" for number, stage in enumerate(own)}

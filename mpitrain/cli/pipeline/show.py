"""``mpitrain pipeline show``: one schedule in the terminal, with the idle time and memory of every rank."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console
from .costs import CostOptions, check_counts, costs_of
from .wrong import predict_one, warn

if TYPE_CHECKING:
    from ...pipelines.price import Prediction

DEFAULT_WIDTH = 100  # where the output is not a terminal
DESCRIPTION = "Show a pipeline schedule over time, with the idle time and the memory of every rank."


@dataclass(frozen=True, kw_only=True)
class ShowOptions(CostOptions):
    """Options of show."""

    pipeline: Annotated[Positional[str], arg(metavar="PIPELINE")]
    """A name of list, with options (interleaved:chunks=4), or FILE.py:FUNC."""
    width: int = 0
    """Columns of the picture; 0 takes those of the terminal, or 100."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ShowOptions, argv, command="pipeline show", description=DESCRIPTION, speaks=speaks)
    check_counts(options)
    return LocalJob(lambda: show(options))


def show(options: ShowOptions) -> int:
    """Print the schedule; the exit code is 1 if it is wrong."""
    from ...pipelines import find
    from ...pipelines.draw import draw_ascii, draw_tasks, is_drawable

    pipeline, costs = find(options.pipeline), costs_of(options)
    prediction, wrong = predict_one(options.pipeline, options.ranks, options.microbatches, costs)
    console = make_console()
    for line in (pipeline.summary, *pipeline.formulas, f"Source: {pipeline.source}" if pipeline.source else ""):
        if line:
            console.say(line)
    program = prediction.timeline.program
    width = options.width or (console.width if console.is_terminal else DEFAULT_WIDTH)
    print("\n" + (draw_ascii(prediction, width) if is_drawable(program) else draw_tasks(program)) + "\n")
    _print_ranks(prediction)
    return int(warn([(options.pipeline, wrong)], "drawn as far as it goes"))


def _print_ranks(prediction: "Prediction", most: int = 16) -> None:
    from ...pipelines.idle import CAUSES, shares
    from ...training.display.text_table import Column, print_table

    price, program = prediction.price, prediction.timeline.program
    total = prediction.timeline.total or 1.0
    rows = []
    for rank in range(program.size):
        stages = " ".join(map(str, program.stages_of[rank]))
        causes = shares(prediction.idle[rank], total)
        idle = [f"{price.bubbles[rank]:.1%}", *(f"{causes[cause]:.1%}" for cause in CAUSES)]
        rows.append((f"rank {rank}", stages, *idle, f"{price.live[rank]:.3g}"))
    console = make_console()
    heads = [Column(head) for head in ("idle", *CAUSES, "held")]
    print_table(console, [Column("", "word"), Column("stages", "word"), *heads], rows[:most])
    if len(rows) > most:
        console.say(f"... and {len(rows) - most:,} more ranks")

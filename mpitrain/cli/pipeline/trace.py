"""``mpitrain pipeline trace``: compare a recorded run with its prediction, and draw both."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ..files import write
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console
from .costs import MessageOptions, link_of
from .draw import check_suffix

if TYPE_CHECKING:
    from ...pipelines import Pipeline
    from ...pipelines.price import Prediction
    from ...pipelines.simulate import Link
    from ...pipelines.trace import Recorded

DESCRIPTION = "Compare the recorded run of a pipeline with its prediction: idle time of every rank by its cause."


@dataclass(frozen=True, kw_only=True)
class TraceOptions(MessageOptions):
    """Options of trace."""

    trace: Annotated[Positional[Path], arg(metavar="FILE")]
    """The recorded run, a file of JSON lines; mpitrain.pipelines.trace describes its format."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """FILE.svg or FILE.html, with the prediction above and the run below."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(TraceOptions, argv, command="pipeline trace", description=DESCRIPTION, speaks=speaks)
    check_suffix(options.out)
    return LocalJob(lambda: show(options))


def show(options: TraceOptions) -> int:
    """Print the comparison, and write the drawing."""
    from ...pipelines.draw import draw_svg
    from ...pipelines.trace import read_trace, replay

    link = link_of(options)
    recorded = replay(read_trace(options.trace))
    predicted = recorded.predict(link)
    pipeline = _find_pipeline(recorded)
    _print_table(recorded, predicted)
    if options.out is not None:
        if options.out.suffix == ".html":
            write(options.out, _page(recorded, pipeline, link))
        else:
            write(options.out, draw_svg(predicted, recorded.run))
        print(options.out)
    return 0


def _find_pipeline(recorded: "Recorded") -> "Pipeline":
    """Return the schedule that was run; if it is not here or has changed, one that has the recorded tasks only."""
    from ...pipelines import find

    name = recorded.trace.pipeline
    try:
        pipeline = find(name)
        changed = recorded.difference(pipeline)
    except UserError as error:
        print(f"mpitrain: the schedule of the run is not known here: {error}", file=sys.stderr)
        return recorded.pipeline
    if changed:
        print(f"mpitrain: the run is not that of {name} as it is now: {changed}", file=sys.stderr)
        return recorded.pipeline
    return pipeline


def _page(recorded: "Recorded", pipeline: "Pipeline", link: "Link | None") -> str:
    from ...pipelines.draw import draw_page

    trace = recorded.trace
    costs = replace(recorded.costs, link=link)
    return draw_page([pipeline], trace.size, trace.num_microbatches, costs=costs, recorded=recorded)


def _print_table(recorded: "Recorded", predicted: "Prediction") -> None:
    from ...collectives.price.units import say_seconds
    from ...pipelines.draw.ascii import describe
    from ...pipelines.idle import CAUSES, shares
    from ...training.display.text_table import Column, print_table

    run, trace = recorded.run, recorded.trace
    wanted, found = predicted.price, run.price
    console = make_console()
    said = [describe(run), trace.mpi_version]
    console.say(", ".join(filter(None, said)), "bold")
    rows = []
    for rank in range(trace.size):
        causes = shares(run.idle[rank], run.timeline.total or 1.0)
        idle = [
            f"{wanted.bubbles[rank]:.1%}",
            f"{found.bubbles[rank]:.1%}",
            *(f"{causes[cause]:.1%}" for cause in CAUSES),
        ]
        rows.append((f"rank {rank}", *idle, f"{found.live[rank]:.3g}"))
    heads = [Column(head) for head in ("idle, predicted", "recorded", *CAUSES, "held")]
    print_table(console, [Column("", "word"), *heads], rows)
    over = 100 * (found.step / wanted.step - 1) if wanted.step else 0.0
    console.say(
        f"step {say_seconds(found.step)} recorded, {say_seconds(wanted.step)} predicted from the mean times of its "
        f"stages ({over:+.1f}%)"
    )
    if recorded.early > trace.clock_error:
        console.say(
            f"a task begins {say_seconds(recorded.early)} before its input is there: clocks differ by more than "
            f"{say_seconds(trace.clock_error)}, as the trace says",
            "yellow",
        )

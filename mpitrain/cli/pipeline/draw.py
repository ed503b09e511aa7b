"""``mpitrain pipeline draw``: schedules as text, as a diagram, or as a page that plays them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ..files import write
from ..options import parse_options
from ..order import LocalJob
from .costs import CostOptions, check_counts, costs_of
from .wrong import predict_one, warn

if TYPE_CHECKING:
    from ...pipelines.price import Costs

DESCRIPTION = "Draw pipeline schedules: text, a diagram (.svg), or a page that plays them (.html)."
FILES = (".svg", ".html")


@dataclass(frozen=True, kw_only=True)
class DrawOptions(CostOptions):
    """Options of draw."""

    pipelines: Annotated[Positional[tuple[str, ...]], arg(metavar="PIPELINE")] = ()
    """Names of list, or FILE.py:FUNC; a page shows the first two one above the other and offers the rest."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """FILE.svg or FILE.html; without it, text in the terminal."""
    max_ranks: int = 8
    """Largest number of ranks that a page offers."""
    max_microbatches: int = 16
    """Largest number of microbatches that a page offers."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(DrawOptions, argv, command="pipeline draw", description=DESCRIPTION, speaks=speaks)
    check_counts(options)
    if not options.pipelines:
        raise UserError("draw needs the name of a schedule; mpitrain pipeline list has them")
    check_suffix(options.out)
    return LocalJob(lambda: draw(options))


def check_suffix(out: Path | None) -> None:
    """Raise UserError unless ``out`` is a page or a diagram."""
    if out is not None and out.suffix not in FILES:
        raise UserError(f"-o is {out}, but must end in {' or '.join(FILES)}")


def draw(options: DrawOptions) -> int:
    """Print or write the drawing; the exit code is 1 if a schedule is wrong."""
    from ...pipelines.draw import draw_ascii, draw_svg, draw_tasks, is_drawable

    costs = costs_of(options)
    names = tuple(dict.fromkeys(options.pipelines))
    found = [predict_one(name, options.ranks, options.microbatches, costs) for name in names]
    if options.out is None:
        texts = [
            draw_ascii(one) if is_drawable(one.timeline.program) else draw_tasks(one.timeline.program)
            for one, _ in found
        ]
        print("\n\n".join(texts))
    elif options.out.suffix == ".html":
        _write_page(options.out, names, options, costs)
        print(f"{options.out}: open it in a browser")
    elif len(found) == 1:
        write(options.out, draw_svg(found[0][0]))
        print(options.out)
    else:
        raise UserError("a diagram shows one schedule; a page (-o FILE.html) shows two one above the other")
    return int(warn(((name, wrong) for name, (_, wrong) in zip(names, found, strict=True)), "drawn as far as it goes"))


def _write_page(out: Path, names: tuple[str, ...], options: DrawOptions, costs: "Costs") -> None:
    from ...pipelines import find
    from ...pipelines.draw import draw_page

    if options.ranks_per_node:
        raise UserError("on a page all messages take the same time: leave out --ranks-per-node")
    page = draw_page(
        [find(name) for name in names],
        options.ranks,
        options.microbatches,
        max_ranks=options.max_ranks,
        max_microbatches=options.max_microbatches,
        costs=costs,
    )
    write(out, page)

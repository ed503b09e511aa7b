"""``mpitrain collective draw``: an algorithm as text, as a diagram, or as a page that plays it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ..files import write
from ..options import parse_options
from ..order import LocalJob
from .wrong import warn_of_wrong

if TYPE_CHECKING:
    from ...collectives.draw import Costs, Trace

DESCRIPTION = "Draw an algorithm: text, a space-time diagram (.svg), or a page that plays it step by step (.html)."
FILES = (".svg", ".html")


@dataclass(frozen=True, kw_only=True)
class DrawOptions:
    """Options of draw."""

    algorithms: Annotated[Positional[tuple[str, ...]], arg(metavar="ALG")] = ()
    """Names of list, or FILE.py:FUNC; a page shows the first two side by side and offers the rest."""
    ranks: Annotated[int, arg(aliases=["-n"])] = 8
    """Number of ranks; a page has a slider."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """FILE.svg or FILE.html; without it, tables in the terminal."""
    max_ranks: int = 16
    """Largest number of ranks of a page's slider."""
    bytes: str = "1MiB"
    """Initial length of the buffer on a page."""
    calibration: Path | None = None
    """File written by calibrate, with the costs for a page; by default the table that comes with mpitrain, as in
    price."""
    trace: Path | None = None
    """A run recorded by trace, to be laid over the prediction on a page."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(DrawOptions, argv, command="collective draw", description=DESCRIPTION, speaks=speaks)
    if not options.algorithms and options.trace is None:
        raise UserError("draw needs the name of an algorithm; mpitrain collective list has them")
    if options.ranks < 1:
        raise UserError(f"-n is {options.ranks}, but must be at least 1")
    if options.out is not None and options.out.suffix not in FILES:
        raise UserError(f"-o is {options.out}, but must end in {' or '.join(FILES)}")
    if options.trace is not None and (options.out is None or options.out.suffix != ".html"):
        raise UserError("a trace is drawn on a page; give -o FILE.html")
    return LocalJob(lambda: draw(options))


def draw(options: DrawOptions) -> int:
    """Print or write the drawing; the exit code is 1 if the algorithm is wrong."""
    from ...collectives import find
    from ...collectives.draw import Costs, draw_ascii, draw_svg, play, read_trace
    from ...collectives.price import load_calibration
    from ...collectives.price.units import read_bytes

    num_bytes = read_bytes(options.bytes, "--bytes", least=1)
    on_page = options.algorithms if options.out else ()  # text says it itself
    wrong = warn_of_wrong(on_page, options.ranks, "drawn up to its mistake")
    played = [play(find(name), options.ranks) for name in options.algorithms]
    if options.out is None:
        print("\n\n".join(draw_ascii(one) for one in played))
    elif options.out.suffix == ".html":
        trace = read_trace(options.trace) if options.trace else None
        calibration = load_calibration(options.calibration) if options.calibration else load_calibration()
        costs = Costs.of(calibration, num_bytes)
        write_page(options.out, options.algorithms, options.ranks, options.max_ranks, costs, trace)
        print(f"{options.out}: open it in a browser")
    elif len(played) == 1:
        write(options.out, draw_svg(played[0]))
        print(options.out)
    else:
        raise UserError("a diagram shows one algorithm; a page (-o FILE.html) shows two side by side")
    return 1 if wrong or any(one.error for one in played) else 0


def write_page(
    out: Path,
    names: tuple[str, ...],
    ranks: int,
    max_ranks: int,
    costs: "Costs",
    trace: "Trace | None",
) -> None:
    """Write a page; a trace brings its own algorithm, P and length."""
    from ...collectives import find
    from ...collectives.draw import draw_page

    if trace is not None:
        names = (trace.algorithm, *(name for name in names if name != trace.algorithm))
        ranks, costs = trace.size, replace(costs, num_bytes=trace.num_bytes)
    algorithms = [find(name) for name in dict.fromkeys(names)]
    write(out, draw_page(algorithms, ranks, max_ranks=max_ranks, costs=costs, trace=trace))

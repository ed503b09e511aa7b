"""``mpitrain collective trace``: run an algorithm, record every step, and draw it over its prediction."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ..options import parse_options
from ..order import Job

if TYPE_CHECKING:
    from ...comm.world import World

DESCRIPTION = "Record a run, step by step: mpirun -n 4 mpitrain collective trace ring -o ring.html"


@dataclass(frozen=True, kw_only=True)
class TraceOptions:
    """Options of trace."""

    algorithm: Annotated[Positional[str], arg(metavar="ALG")]
    """A name of list, with options (chain:segments=4), or FILE.py:FUNC."""
    bytes: str = "1MiB"
    """Length of the buffer."""
    repeats: int = 9
    """Runs, of which the one of median length is kept."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("trace.html")
    """Page to write; the recorded times are stored next to it as .jsonl, the input of draw --trace."""
    against: str = ""
    """Second algorithm on the page, predicted only."""
    calibration: Path | None = None
    """Calibration file for the prediction; by default that of this machine if it exists, otherwise a table."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(TraceOptions, argv, command="collective trace", description=DESCRIPTION, speaks=speaks)
    if options.repeats < 1:
        raise UserError(f"--repeats is {options.repeats}, but must be at least 1")
    if options.out.suffix != ".html":
        raise UserError(f"-o is {options.out}, but must end in .html")
    return Job("collective trace", options, lambda world: trace(options, world))


def trace(options: TraceOptions, world: "World") -> int:
    """Record with all ranks; rank 0 writes both files."""
    from ...collectives import ScheduleError, check_for, find
    from ...collectives.draw import MAX_TRACED, Costs, format_trace
    from ...collectives.price import load_calibration
    from ...collectives.price.units import read_bytes, say_bytes
    from ...comm.measure.trace import record
    from ..files import check_writable, write
    from .draw import write_page

    with world.together():
        num_bytes = read_bytes(options.bytes, "--bytes", least=1)
        algorithm = find(options.algorithm)
        if not 2 <= world.size <= MAX_TRACED:
            raise UserError(f"a trace needs 2 to {MAX_TRACED} ranks, not {world.size}")
        if world.rank == 0:
            check_writable(options.out)
            try:
                check_for(algorithm, world.size)
            except ScheduleError as error:
                raise UserError(f"{options.algorithm} is wrong for {error}") from None
    recorded = record(world, algorithm, num_bytes, options.repeats)
    with world.together():
        if recorded is not None:
            own = world.calibration_path
            found = options.calibration or (own if own.exists() else None)
            costs = Costs.of(load_calibration(found) if found else load_calibration())
            names = (recorded.algorithm, *([options.against] if options.against else []))
            lines = options.out.with_suffix(".jsonl")
            write(lines, format_trace(recorded))
            write_page(options.out, names, world.size, 16, costs, recorded)
            took, agree = (f"{seconds * 1e6:,.0f} us" for seconds in (recorded.seconds, recorded.clock_error))
            what = f"{recorded.algorithm}, {world.size} ranks, {say_bytes(recorded.num_bytes)}"
            print(f"{what}: {took} measured (clocks agree to {agree}); {options.out} and {lines}")
            if world.oversubscribed:
                print("ranks outnumber cores: they wait for the scheduler, and the prediction does not apply")
    return 0

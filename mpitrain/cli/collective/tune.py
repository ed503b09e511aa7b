"""``mpitrain collective tune``: measure all-reduces on this machine and store the fastest per length for auto."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import check_writable
from ..options import parse_options
from ..order import Job
from ..progress import Progress
from ..terminal import make_console

if TYPE_CHECKING:
    from ...collectives.price import Calibration
    from ...comm.world import World

DESCRIPTION = (
    "Measure and write down the fastest all-reduce for each length: mpirun -n 4 python -m mpitrain collective tune."
)
SHORTLIST = 6
ALWAYS = ("shared", "ring", "tree", "recursive_doubling", "halving_doubling")


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Options of tune."""

    algorithms: tuple[str, ...] = ()
    """Algorithms to measure; by default the usual ones, and the best six by price at each length."""
    output: Path | None = None
    """Calibration to read and write; by default that of this machine, MPI library and number of ranks."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(TuneOptions, argv, command="collective tune", description=DESCRIPTION, speaks=speaks)
    return Job("collective tune", options, lambda world: run(options, world))


def run(options: TuneOptions, world: "World") -> int:
    """Calibrate if that has not been done, measure with all ranks, and write (rank 0)."""
    from ...collectives.price import load_calibration, save_calibration
    from ...comm.measure.bench import SIZES, bench, tune
    from ...comm.measure.calibrate import calibrate, without_prices
    from ...errors import UserError

    path = options.output or world.calibration_path
    with world.together():
        if world.size < 2:
            raise UserError("tune needs two ranks or more: mpirun -n 2 python -m mpitrain collective tune")
        if world.rank == 0:
            check_writable(path)
        found = load_calibration(path) if world.rank == 0 and path.is_file() else None
    fresh = world.all_gather(found is None)[0]
    progress = Progress("collective tune", speaks=world.rank == 0)
    if fresh:
        found = without_prices(world) if world.oversubscribed else calibrate(world, stages=progress)
    mine = options.algorithms or _shortlist(found, world.size, SIZES) if world.rank == 0 else ()
    names = world.all_gather(mine)[0]
    rows = bench(world, names, SIZES, stages=progress)
    progress.end()
    with world.together():
        if world.rank == 0 and found is not None:
            tuned = tune(found, rows)
            save_calibration(tuned, path)
            _print(tuned, path)
    return 0


def _shortlist(calibration: "Calibration | None", size: int, sizes: tuple[int, ...]) -> tuple[str, ...]:
    """Return the usual algorithms, and the best by price at each length where the model applies."""
    from ...collectives.price import predict

    if calibration is None or calibration.oversubscribed:
        return ALWAYS
    found = list(ALWAYS)
    for num_bytes in sizes[::3]:
        seconds = predict(size, num_bytes, calibration)
        found += sorted((name for name in seconds if name != "native"), key=seconds.__getitem__)[:SHORTLIST]
    return tuple(dict.fromkeys(found))


def _print(calibration: "Calibration", path: Path) -> None:
    from ...collectives.price.units import say_bytes, say_seconds
    from ...training.display.text_table import Column, print_table

    columns = [Column("from"), Column("algorithm", "name"), Column("measured"), Column("native")]
    rows = [
        [say_bytes(start), name, say_seconds(seconds), say_seconds(native)]
        for start, name, seconds, native in calibration.best
    ]
    print_table(make_console(), columns, rows, title=f"fastest all-reduce on {calibration.ranks} ranks")
    print(f"written to {path}")

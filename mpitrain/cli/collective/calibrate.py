"""``mpitrain collective calibrate``: measure this machine, MPI library and number of ranks for the price model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import check_writable
from ..options import parse_options
from ..order import Job
from ..progress import Progress
from ..terminal import make_console

if TYPE_CHECKING:
    from ...collectives.price import Calibration, Wire
    from ...comm.world import World

DESCRIPTION = (
    "Measure messages and reductions for the price model: mpirun -n 4 python -m mpitrain collective calibrate."
)


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Options of calibrate."""

    output: Path | None = None
    """File to write; by default one for this machine, MPI library and number of ranks, where auto finds it."""
    repeats: int = 31
    """Measurements of each kind and length."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(
        CalibrateOptions, argv, command="collective calibrate", description=DESCRIPTION, speaks=speaks
    )
    return Job("collective calibrate", options, lambda world: measure(options, world))


def measure(options: CalibrateOptions, world: "World") -> int:
    """Calibrate with all ranks; rank 0 writes and prints."""
    from ...collectives.price import save_calibration
    from ...comm.measure.calibrate import calibrate
    from ...errors import UserError

    with world.together():
        if world.size < 2:
            raise UserError("calibrate needs two ranks or more: mpirun -n 2 python -m mpitrain collective calibrate")
        if options.repeats < 1:
            raise UserError(f"--repeats is {options.repeats}, but must be at least 1")
        path = options.output or world.calibration_path
        if world.rank == 0:
            check_writable(path)
    progress = Progress("collective calibrate", speaks=world.rank == 0)
    calibration = calibrate(world, repeats=options.repeats, stages=progress)
    progress.end()
    with world.together():
        if world.rank == 0:
            save_calibration(calibration, path)
    if world.rank == 0:
        _print(calibration)
        print(f"written to {path}")
    return 0


def _print(calibration: "Calibration") -> None:
    from ...training.display.text_table import Column, print_table

    heads = ("way", "overhead", "alpha", "beta", "GB/s", "error", "worst", "gap", "eager", "node GB/s")
    columns = [Column(head, "word" if head == "way" else "number") for head in heads]
    ways = (("inside a node", calibration.inside), ("across nodes", calibration.across))
    rows = [[name, *_cells(wire)] for name, wire in ways]
    console = make_console()
    print_table(console, columns, rows, title=f"{calibration.ranks} ranks: {calibration.source}")
    add = calibration.reduce.fit()
    rate = f"{1e-9 / add.beta:.3g} GB/s" if add.beta > 0 else "too fast to measure"
    console.say(
        f"reduction: {rate}, {100 * calibration.overlap:.0f}% hidden by messages; "
        f"start of a collective: {1e6 * calibration.launch:.2f} us"
    )
    if calibration.oversubscribed:
        console.say("ranks outnumber cores: the model does not apply here; tune measures instead", "yellow")


def _cells(wire: "Wire") -> list[str]:
    from ...collectives.price.units import say_bytes

    line = wire.one_way.fit()
    return [
        f"{1e6 * wire.send_overhead:.2f} us",
        f"{1e6 * line.alpha:.2f} us",
        f"{1e9 * line.beta:.3g} ns/B",
        f"{1e-9 / rate:.3g}" if (rate := wire.one_way.last_slope) > 0 else "-",
        f"{100 * line.median_error:.0f}%",
        f"{100 * line.max_error:.0f}%",
        f"{1e6 * wire.gap:.2f} us",
        say_bytes(wire.eager),
        f"{1e-9 * wire.capacity:.3g}" if wire.capacity else "-",
    ]

"""``mpitrain collective bench``: all-reduces measured against the MPI library's own, beside what was predicted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ..options import parse_options

if TYPE_CHECKING:
    from ...collectives.price import Calibration
    from ...comm.bench import Row
    from ...comm.world import World
    from ..main import Job

DESCRIPTION = "Measure all-reduces against native: mpirun -n 2 python -m mpitrain collective bench ring tree --json F."
ALL = ("ring", "tree", "recursive_doubling", "halving_doubling", "shared", "auto")


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Options of bench."""

    algorithms: Annotated[Positional[tuple[str, ...]], arg(metavar="ALG")] = ALL
    """Names of list with options or not, shared, auto, or FILE.py:FUNC; native is always measured."""
    bytes: tuple[str, ...] = ()
    """Lengths of the buffer; by default 4 B to 64 MB in steps of four."""
    json: Path | None = None
    """Write the rows {algorithm, ranks, bytes, us, native_us, ratio} here."""
    plot: Path | None = None
    """Draw measured and predicted times to this file (svg, png or pdf)."""
    calibration: Path | None = None
    """Predict from this file; by default from that of this machine, MPI library and number of ranks."""
    fresh: bool = False
    """Calibrate between the measurements instead: where processes land on a machine can halve its speed."""


def parse(argv: list[str], speaks: bool) -> "Job":
    """Return the job that ``argv`` asks for."""
    options = parse_options(BenchOptions, argv, command="collective bench", description=DESCRIPTION, speaks=speaks)
    return lambda world: run(options, world)


def run(options: BenchOptions, world: "World") -> int:
    """Measure with all ranks; rank 0 prints and writes."""
    from ...collectives.price.words import read_bytes
    from ...comm.bench import SIZES, bench
    from ...comm.calibrate import Calibrator

    with world.together():
        sizes = tuple(read_bytes(text) for text in options.bytes) or SIZES
        known = world.rank == 0 and not options.fresh
        calibration = _calibration(options.calibration, world) if known else None
    calibrator = Calibrator(world) if options.fresh and world.size > 1 else None
    rows = bench(world, options.algorithms, sizes, between=calibrator.measure if calibrator else _nothing)
    if calibrator is not None:
        calibration = calibrator.result()
    with world.together():
        if world.rank == 0:
            _report(options, rows, calibration, world)
    return 0


def _nothing() -> None:
    pass


def predictions(rows: Sequence["Row"], calibration: "Calibration | None") -> dict[tuple[str, int], float]:
    """Return the predicted microseconds of (algorithm, bytes), where the model has something to say."""
    from ...collectives.price import predict

    found: dict[tuple[str, int], float] = {}
    if calibration is None or calibration.oversubscribed:
        return found
    for row in rows:
        if row.algorithm not in ("native", "auto", "shared"):
            seconds = predict(row.ranks, row.bytes, calibration, algorithms=[row.algorithm])
            if row.algorithm in seconds:
                found[row.algorithm, row.bytes] = 1e6 * seconds[row.algorithm]
    return found


def _calibration(path: Path | None, world: "World") -> "Calibration | None":
    from ...collectives.price import load_calibration

    path = path or world.calibration_path
    return load_calibration(path) if path.is_file() else None


def _report(options: BenchOptions, rows: list["Row"], calibration: "Calibration | None", world: "World") -> None:
    predicted = predictions(rows, calibration)
    _print_table(rows, predicted)
    if world.oversubscribed:
        print("ranks outnumber cores: the model does not apply, and nothing is predicted")
    elif calibration is None:
        print("nothing is predicted: this world has no calibration (mpitrain collective calibrate)")
    try:
        if options.json:
            options.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n", encoding="utf-8")
        if options.plot:
            from ...training.bench_plot import plot_bench

            plot_bench(options.plot, rows, predicted)
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}") from None


def _print_table(rows: list["Row"], predicted: dict[tuple[str, int], float]) -> None:
    from rich.console import Console
    from rich.table import Table

    from ...collectives.price.words import say_bytes, say_seconds

    table = Table(title=f"all-reduce on {rows[0].ranks} ranks")
    for head in ("bytes", "algorithm", "measured", "native / measured", "undisturbed", "predicted", "error"):
        table.add_column(head, justify="left" if head == "algorithm" else "right")
    errors = []
    for row in rows:
        guess = predicted.get((row.algorithm, row.bytes))
        error = guess / row.quiet_us - 1.0 if guess is not None else None
        if error is not None and row.bytes > 4096:
            errors.append(abs(error))
        if row.algorithm == "native":
            table.add_section()
        cells = [say_bytes(row.bytes), row.algorithm, say_seconds(1e-6 * row.us), f"{row.ratio:.2f}"]
        cells.append(say_seconds(1e-6 * row.quiet_us))
        if guess is not None and error is not None:
            cells += [say_seconds(1e-6 * guess), f"{100 * error:+.0f}%"]
        table.add_row(*cells)
    console = Console()
    console.print(table)
    if errors:
        good = sum(error <= 0.25 for error in errors)
        console.print(
            f"{good} of {len(errors)} predictions above 4 KB are within 25% of the undisturbed time", highlight=False
        )

"""``mpitrain collective bench``: measure all-reduces against the MPI library's own and against the predictions."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ...json_text import to_json
from ...plain_text import count
from ..files import check_writable, write
from ..options import parse_options
from ..order import Job
from ..progress import Progress
from ..terminal import make_console
from .compare import compare

if TYPE_CHECKING:
    from ...comm.measure.bench import Row
    from ...comm.measure.model_error import Predictions
    from ...comm.world import World

DESCRIPTION = "Measure all-reduces against native: mpirun -n 2 python -m mpitrain collective bench ring tree --json F."
JUDGED_FROM = 4096  # bytes: shorter buffers are all overhead
ALL = ("ring", "tree", "recursive_doubling", "halving_doubling", "shared", "auto")


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Options of bench."""

    algorithms: Annotated[Positional[tuple[str, ...]], arg(metavar="ALG")] = ALL
    """Names of list with options or not, shared, auto, or FILE.py:FUNC; native is always measured."""
    bytes: tuple[str, ...] = ()
    """Lengths of the buffer; by default 4 B to 64 MiB in steps of four."""
    json: Path | None = None
    """Write the rows {algorithm, ranks, bytes, us, native_us, ratio} here."""
    plot: Path | None = None
    """Draw measured and predicted times to this file (svg, png or pdf; needs pip install 'mpitrain[plot]')."""
    predict: bool = False
    """Measure messages in between, and show the prices predicted from them and the errors of the predictions."""
    compare_tuned: bool = False
    """Show the choices of auto with and without the file written by tune, and how far both are from the fastest."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(BenchOptions, argv, command="collective bench", description=DESCRIPTION, speaks=speaks)
    if options.plot and importlib.util.find_spec("matplotlib") is None:  # known before anything is measured
        raise UserError("--plot needs matplotlib: pip install 'mpitrain[plot]'")
    return Job("collective bench", options, lambda world: run(options, world))


def run(options: BenchOptions, world: "World") -> int:
    """Measure with all ranks; rank 0 prints and writes."""
    from ...collectives.price.units import read_bytes
    from ...comm.measure.bench import SIZES, bench
    from ...comm.measure.model_error import bench_with_predictions

    with world.together():
        if world.size < 2:
            raise UserError("nothing is measured: one rank has nothing to reduce; start more with mpirun -n 2")
        sizes = tuple(read_bytes(text, "--bytes", least=4) for text in options.bytes) or SIZES
        if world.rank == 0:
            check_writable(options.json)
            check_writable(options.plot)
    progress = Progress("collective bench", speaks=world.rank == 0)
    if options.compare_tuned:
        return compare(options.algorithms, sizes, options.json, progress, world)
    if options.predict:
        rows, predictions = bench_with_predictions(world, options.algorithms, sizes, stages=progress)
    else:
        rows, predictions = bench(world, options.algorithms, sizes, stages=progress), {}
    progress.end()
    with world.together():
        if world.rank == 0:
            _report(options, rows, predictions, world)
    return 0


def _report(options: BenchOptions, rows: list["Row"], predictions: "Predictions", world: "World") -> None:
    _print_table(rows, predictions)
    if options.predict and world.oversubscribed:
        make_console().say("ranks outnumber cores: the model does not apply, and nothing is predicted", "yellow")
    if options.json:
        write(options.json, to_json([vars(row) for row in rows], indent=1) + "\n")
    if options.plot:
        from ...training.display.bench_plot import plot_bench

        try:
            plot_bench(options.plot, rows, {cell: found.us for cell, found in predictions.items()})
        except OSError as error:
            raise UserError(f"cannot write {error.filename}: {error.strerror}") from None


def _print_table(rows: list["Row"], predictions: "Predictions") -> None:
    from ...collectives.price.units import say_bytes, say_seconds
    from ...training.display.text_table import Column, Row, print_table

    heads = ("bytes", "algorithm", "measured", "native / measured", *(("predicted", "error") if predictions else ()))
    columns = [Column(head, "name" if head == "algorithm" else "number") for head in heads]
    lines: list[Row | None] = []
    for row in rows:
        if row.algorithm == "native" and lines:
            lines.append(None)
        cells = [say_bytes(row.bytes), row.algorithm, say_seconds(1e-6 * row.us), f"{row.ratio:.2f}"]
        found = predictions.get((row.algorithm, row.bytes))
        predicted = (say_seconds(1e-6 * found.us), f"{100 * found.error:+.0f}%") if found else ("", "")
        lines.append([*cells, *(predicted if predictions else ())])
    console = make_console()
    print_table(console, columns, lines, title=f"all-reduce on {count(rows[0].ranks, 'rank')}")
    errors = [abs(found.error) for (_, num_bytes), found in predictions.items() if num_bytes > JUDGED_FROM]
    if errors:
        good = sum(error <= 0.25 for error in errors)
        console.say(f"{good} of {len(errors)} predictions above 4 KiB are within 25%")

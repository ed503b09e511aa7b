"""What ``auto`` takes with a tuned file and without, beside the fastest (``collective bench --compare-tuned``)."""

import json
from typing import TYPE_CHECKING

from ..terminal import make_console
from .tune import ALWAYS

if TYPE_CHECKING:
    from ...comm.compare import Compared
    from ...comm.world import World
    from .bench import BenchOptions
    from .progress import Progress

HEADS = ("bytes", "native", "untuned", "", "tuned", "", "fastest", "", "tuned / untuned", "native / untuned")


def compare(options: "BenchOptions", sizes: tuple[int, ...], progress: "Progress", world: "World") -> int:
    """Measure with all ranks; rank 0 prints and writes."""
    from ...comm.compare import compare_tuned

    rows = compare_tuned(world, (*ALWAYS, *options.algorithms), sizes, stages=progress)
    progress.end()
    with world.together():
        if world.rank == 0:
            _print(rows, world)
            if options.json:
                options.json.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 0


def _print(rows: list["Compared"], world: "World") -> None:
    from rich.table import Table

    from ...collectives.price.words import say_bytes, say_seconds

    table = Table(title=f"auto on {world.size} ranks, {world.mpi_version}")
    for head in HEADS:
        table.add_column(head, justify="right" if head in ("bytes", "native", "") or "/" in head else "left")
    for row in rows:
        cells = [say_bytes(row.bytes), say_seconds(1e-6 * row.native_us)]
        for name, us in ((row.untuned, row.untuned_us), (row.tuned, row.tuned_us), (row.fastest, row.fastest_us)):
            cells += [name, say_seconds(1e-6 * us)]
        table.add_row(*cells, f"{row.tuned_us / row.untuned_us:.2f}", f"{row.native_us / row.untuned_us:.2f}")
    make_console().print(table)

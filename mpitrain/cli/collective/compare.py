"""Choices of ``auto`` with and without a tuned file, against the fastest (``collective bench --compare-tuned``)."""

from pathlib import Path
from typing import TYPE_CHECKING

from ...json_text import to_json
from ..files import write
from ..terminal import make_console
from .tune import ALWAYS

if TYPE_CHECKING:
    from ...comm.measure.compare import Compared
    from ...comm.world import World
    from ..progress import Progress


def compare(
    algorithms: tuple[str, ...], sizes: tuple[int, ...], json: Path | None, progress: "Progress", world: "World"
) -> int:
    """Measure with all ranks; rank 0 prints, and writes the rows to ``json``."""
    from ...comm.measure.compare import compare_tuned

    rows = compare_tuned(world, (*ALWAYS, *algorithms), sizes, stages=progress)
    progress.end()
    with world.together():
        if world.rank == 0:
            _print(rows, world)
            if json:
                write(json, to_json([vars(row) for row in rows], indent=1) + "\n")
    return 0


def _print(rows: list["Compared"], world: "World") -> None:
    from ...collectives.price.units import say_bytes, say_seconds
    from ...training.display.text_table import Column, print_table

    chosen = [column for head in ("untuned", "tuned", "fastest") for column in (Column(head, "name"), Column(""))]
    ratios = [Column("tuned / untuned"), Column("native / untuned")]
    lines = []
    for row in rows:
        cells = [say_bytes(row.bytes), say_seconds(1e-6 * row.native_us)]
        for name, us in ((row.untuned, row.untuned_us), (row.tuned, row.tuned_us), (row.fastest, row.fastest_us)):
            cells += [name, say_seconds(1e-6 * us)]
        lines.append([*cells, f"{row.tuned_us / row.untuned_us:.2f}", f"{row.native_us / row.untuned_us:.2f}"])
    columns = [Column("bytes"), Column("native"), *chosen, *ratios]
    print_table(make_console(), columns, lines, title=f"auto on {world.size} ranks, {world.mpi_version}")

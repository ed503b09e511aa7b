"""Comparison of ``auto`` with and without a tuned file, in one job."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...collectives.price import load_calibration
from ...errors import UserError
from ..world import World
from .bench import NATIVE, bench
from .stages import Stages


@dataclass(frozen=True)
class Compared:
    """One length: the choices of ``auto`` without and with a tuned file, and the fastest, in microseconds."""

    ranks: int
    bytes: int
    native_us: float
    untuned: str
    untuned_us: float
    tuned: str
    tuned_us: float
    fastest: str
    fastest_us: float


def compare_tuned(
    world: World, algorithms: Sequence[str], sizes: Sequence[int], *, stages: Stages | None = None
) -> list[Compared]:
    """Measure ``algorithms`` and all choices of ``auto`` at ``sizes``; return the same rows on every rank.

    An algorithm that is chosen twice is measured once, so that both choices have the same time.

    Raises
    ------
    AgreedError
        If there are no measurements of ``tune``.
    """
    with world.together():
        path = world.calibration_path
        if world.rank == 0 and not (path.is_file() and load_calibration(path).best):
            raise UserError(f"{world.size} ranks are not tuned yet (there is no {path}): run mpitrain collective tune")
    tuned = {n: world.choose(n).name for n in sizes}
    untuned = world.all_gather({n: world.choose_untuned(n).name for n in sizes})[0]
    names = [name for name in dict.fromkeys([*algorithms, *tuned.values(), *untuned.values()]) if name != "auto"]
    us = {(row.algorithm, row.bytes): row.us for row in bench(world, names, sizes, stages=stages)}
    rows = []
    for n in sizes:
        fastest = min((NATIVE, *names), key=lambda name: us[name, n])
        taken = untuned[n], us[untuned[n], n], tuned[n], us[tuned[n], n], fastest, us[fastest, n]
        rows.append(Compared(world.size, n, us[NATIVE, n], *taken))
    return rows

"""Calibration of the price model, by the plans that run the collectives, so that Python's overhead is included.

    ping-pong       a sends n bytes to b, and b back: half a turn is send_overhead + one_way(n)
    exchange        both send at once: a turn is both overheads + exchange(n); with a reduction, + reduce(n)
    flood           a sends messages without waiting: a short one takes the overhead, or the gap; others, its stream
    pipeline        as exchange with a reduction, but of another chunk each turn: the part that messages hide
    walk            ping-pong and exchange through a buffer longer than the caches
    late receiver   the longest send that completes while its receiver sleeps is the eager limit
    bisection       all pairs exchange at once: the bytes per second of a node

Runs are as short as a collective's, a few turns after a barrier. A pass measures everything once, so that a disturbance
affects one run of each and not all of one; the result is the lowest decile over the passes.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpi4py import MPI

from ...collectives.price.calibration import Calibration, load_calibration
from ...collectives.price.curve import Curve
from ..world import World
from .link import LinkBenchmark
from .stages import Silent, Stages
from .timing import PairTimer, Samples

SIZES = tuple(4 << k for k in range(25))  # bytes: 4 B to 64 MiB
UNDISTURBED = 0.1  # quantile of the measurements, low since disturbances only add
LAST_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3/shared_cpu_list")
INSIDE, ACROSS = "inside a node", "across nodes"


class Calibrator:
    """Calibration in passes; all ranks make it and call it together.

    Parameters
    ----------
    world : World
        At least two ranks. If they outnumber the cores, the result is marked, since the model does not apply.
    sizes : tuple of int
        Bytes of the messages. Those that are too long for a slow link are left out; its last slope goes on.
    """

    def __init__(self, world: World, sizes: tuple[int, ...] = SIZES):
        self._world = world
        comm = world._comm.Dup()  # shared within comm
        self._timer = PairTimer(comm, world.oversubscribed)
        self._nodes = comm.allgather(_node_of(comm))
        self._links: dict[str, LinkBenchmark] = {}
        for name, across in ((INSIDE, False), (ACROSS, True)):
            other = next((r for r in range(1, comm.size) if (self._nodes[r] != self._nodes[0]) == across), None)
            if other is not None:
                self._links[name] = LinkBenchmark(self._timer, self._nodes, other, sizes)
        self._native, self._sizes = Samples(), self._affordable()

    def restart(self, sizes: tuple[int, ...]) -> None:
        """Discard the measurements except the eager limit, and continue with ``sizes``."""
        for way in self._links.values():
            way.restart(sizes)
        self._native, self._sizes = Samples(), self._affordable()

    def _affordable(self) -> tuple[int, ...]:
        """Return the sizes that all links afford."""
        return min((way.sizes for way in self._links.values()), key=len)

    def measure(self) -> None:
        """Measure everything once, in one to four seconds."""
        for way in self._links.values():
            way.measure()
        for n in self._sizes:
            self._native.add(n, self._timer.native(n))

    def result(self, share: float = UNDISTURBED) -> Calibration:
        """Return the calibration, the same on every rank.

        Parameters
        ----------
        share : float
            Quantile of the measurements of one quantity: 0.5 for the median.
        """
        shipped = load_calibration()
        fits = {name: way.fit(share) for name, way in self._links.items()}
        wires = {name: wire for name, (wire, _) in fits.items()}
        compute = next(compute for _, compute in fits.values())  # a rank's own work is the same for all links
        per_node = max(self._nodes.count(node) for node in self._nodes)
        origins = [f"{name} {'measured' if name in fits else 'from the shipped table'}" for name in (INSIDE, ACROSS)]
        return Calibration(
            wires.get(INSIDE, shipped.inside),
            wires.get(ACROSS, shipped.across),
            **vars(compute),
            ranks=self._world.size,
            ranks_per_node=per_node,
            oversubscribed=self._world.oversubscribed,
            source=f"{', '.join(origins)}, with {self._world.mpi_version}",
            native=Curve((n, self._native.typical(n, share)) for n in self._sizes),
            cache=_cache_bytes(per_node),
        )


def calibrate(
    world: World, *, sizes: tuple[int, ...] = SIZES, repeats: int = 31, stages: Stages | None = None
) -> Calibration:
    """Calibrate this world, on all ranks together, and return the result, the same on every rank.

    Parameters
    ----------
    world, sizes
        See ``Calibrator``.
    repeats : int
        Number of passes.
    stages : Stages, optional
        Receives the progress.
    """
    stages = stages or Silent()
    calibrator = Calibrator(world, sizes)
    stages.begin(f"messages and reductions of {world.size} ranks, in {repeats} passes", repeats)
    for _ in range(repeats):
        calibrator.measure()
        stages.step()
    return calibrator.result()


def without_prices(world: World) -> Calibration:
    """Return a calibration without prices, for tuned all-reduces where ranks outnumber cores."""
    text = f"only all-reduces measured, with {world.mpi_version}"
    return replace(
        load_calibration(), ranks=world.size, ranks_per_node=world.node_size, oversubscribed=True, source=text
    )


def _cache_bytes(ranks_per_node: int) -> float:
    """Return a rank's part of the last cache, by default of 32 MiB shared by all."""
    try:
        length = float(max(os.sysconf("SC_LEVEL3_CACHE_SIZE"), os.sysconf("SC_LEVEL2_CACHE_SIZE"))) or 2.0**25
        sharing = sum(1 + max(cores) - min(cores) for cores in _ranges(LAST_CACHE.read_text()))
    except (AttributeError, OSError, ValueError):
        return 2.0**25 / ranks_per_node
    return length / min(sharing, ranks_per_node)


def _ranges(text: str) -> list[list[int]]:
    """Return the numbers of "0-3,8,9-11" as [[0, 3], [8], [9, 11]]."""
    return [[int(number) for number in part.split("-")] for part in text.strip().split(",")]


def _node_of(comm: Any) -> int:
    """Return the lowest rank of this rank's node."""
    node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    lowest: int = node.allreduce(comm.rank, MPI.MIN)
    node.Free()
    return lowest

"""Measure what the price model needs, with the same plans that run the collectives: Python's share is in the numbers.

    ping-pong       a sends n bytes to b, and b back: half a turn is send_overhead + one_way(n)
    exchange        both send at once: a turn is both overheads + exchange(n); with a reduction, + reduce(n)
    flood           a sends small messages without waiting: a message is the overhead, or the gap
    pipeline        as exchange with a reduction, but of another chunk each turn: what messages hide of it
    walk            ping-pong and exchange through a buffer longer than the caches
    late receiver   is a send complete while its receiver sleeps? the longest that is, is the eager limit
    bisection       all pairs exchange at once: the bytes a second of a node

Runs are as short as a collective's, a few turns after a barrier. Sizes and kinds are interleaved, so that a
disturbance spoils one run of each and not all of one; the lower quartile counts, since disturbances only add.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mpi4py import MPI

from ..collectives.price.calibration import Calibration, Wire, load_calibration
from ..collectives.price.curve import Curve
from .conversation import Pair, exchange, exchange_and_reduce, flood, ping_pong, pipeline
from .meter import Meter
from .world import World

SIZES = tuple(4 << k for k in range(25))  # bytes: 4 B to 64 MB
SMALL = 8  # bytes of a flood's messages
FLOOD = 64  # messages
COLD_SIZES = tuple(1 << k for k in range(16, 26))  # bytes: 64 KB to 32 MB

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Compute:
    reduce: Curve
    cold_reduce: Curve | None
    overlap: float
    launch: float


def calibrate(
    world: World, *, sizes: tuple[int, ...] = SIZES, repeats: int = 31, say: Say = lambda text: None
) -> Calibration:
    """Measure this world (every rank calls it) and return what was found, the same on every rank.

    Parameters
    ----------
    world : World
        Of at least two ranks. If they outnumber the cores, the result is marked: the model does not apply to it.
    sizes : tuple of int
        Bytes of the messages.
    repeats : int
        Measurements of which the lower quartile is taken.
    say : callable(str)
        Told what is being measured, on rank 0.
    """
    comm = world._comm.Dup()  # the modules of comm share it
    nodes = comm.allgather(_node_of(comm))
    meter = Meter(comm, repeats, world.oversubscribed)
    shipped = load_calibration()
    near = next((r for r in range(1, comm.size) if nodes[r] == nodes[0]), None)
    far = next((r for r in range(1, comm.size) if nodes[r] != nodes[0]), None)
    compute = _Compute(shipped.reduce, shipped.cold_reduce, shipped.overlap, shipped.launch)
    wires: dict[str, Wire] = {}
    for name, other in (("inside a node", near), ("across nodes", far)):
        if other is not None:
            say(f"messages {name}: ranks 0 and {other}")
            wires[name], compute = _measure_wire(meter, nodes, other, sizes)
    say("the library's own all-reduce")
    native = Curve((n, meter.native(n)) for n in sizes)
    per_node = max(nodes.count(node) for node in nodes)
    sources = [f"{name} measured" if name in wires else f"{name} from the shipped table" for name in _NAMES]
    found = Calibration(
        wires.get("inside a node", shipped.inside),
        wires.get("across nodes", shipped.across),
        compute.reduce,
        compute.overlap,
        compute.launch,
        ranks=comm.size,
        ranks_per_node=per_node,
        oversubscribed=world.oversubscribed,
        source=f"{', '.join(sources)}, with {world.mpi_version}",
        native=native,
        cold_reduce=compute.cold_reduce,
        cache=_cache_bytes(),
    )
    comm.Free()
    return found


_NAMES = ("inside a node", "across nodes")


def _cache_bytes() -> float:
    """Return the length of the last cache, 32 MB if the system does not say."""
    try:
        return float(max(os.sysconf("SC_LEVEL3_CACHE_SIZE"), os.sysconf("SC_LEVEL2_CACHE_SIZE"))) or 2.0**25
    except (AttributeError, OSError, ValueError):
        return 2.0**25


def _node_of(comm: Any) -> int:
    """Return the lowest rank of this rank's node."""
    node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    lowest: int = node.allreduce(comm.rank, MPI.MIN)
    node.Free()
    return lowest


def _measure_wire(meter: Meter, nodes: list[int], other: int, sizes: tuple[int, ...]) -> tuple[Wire, _Compute]:
    """Measure messages between ranks 0 and ``other``, and of all pairs at once, and what a rank does beside them."""
    rank, size = meter.comm.rank, meter.comm.size
    pair = Pair(rank, {0: other, other: 0}[rank], rank == 0) if rank in (0, other) else None
    kinds = {"one_way": ping_pong, "exchange": exchange, "reduce": exchange_and_reduce, "pipeline": pipeline}
    cells = [(kind, n) for n in sizes for kind in kinds]
    once = meter.typical(lambda: meter.run(exchange, pair, SMALL, 1))
    launch = max(0.0, once - meter.typical(lambda: meter.run(exchange, pair, SMALL, FLOOD) / FLOOD))
    seconds = meter.interleaved(cells, kinds, pair, launch)
    flooded = meter.typical(lambda: meter.run(flood, pair, SMALL, FLOOD) / FLOOD)
    shortest = seconds["exchange", sizes[0]]
    overhead = min(flooded, 0.4 * shortest, 0.8 * seconds["one_way", sizes[0]])
    exchanged = Curve((n, seconds["exchange", n]) for n in sizes)
    reduced = Curve((n, max(0.0, seconds["reduce", n] - seconds["exchange", n])) for n in sizes)
    one_way = Curve((n, seconds["one_way", n]) for n in sizes).shifted(-overhead)
    exchanged = exchanged.shifted(-2 * overhead)
    walked = meter.walks([n for n in COLD_SIZES if n <= sizes[-1]], kinds, pair)
    cold = {kind: _extended(curve, walked[kind]) for kind, curve in (("one_way", one_way), ("exchange", exchanged))}
    wire = Wire(
        one_way,
        exchanged,
        send_overhead=overhead,
        recv_overhead=overhead,
        gap=flooded,
        eager=float(meter.eager_limit(pair, sizes)),
        capacity=_capacity(meter, nodes, nodes[0] != nodes[other], min(sizes[-1], 1 << 22)) if size > 2 else None,
    )
    wire = replace(wire, cold_one_way=cold["one_way"], cold_exchange=cold["exchange"])
    work = [(n, max(0.0, t - dict(walked["exchange"])[n])) for n, t in walked["reduce"]]
    return wire, _Compute(reduced, _extended(reduced, work), _overlap(seconds, sizes), launch)


def _extended(warm: Curve, walked: list[tuple[int, float]]) -> Curve:
    """Return the curve that is ``warm`` for messages shorter than those walked."""
    shortest = walked[0][0] if walked else math.inf
    return Curve([(n, t) for n, t in warm.points if n < shortest / 2] + [(float(n), t) for n, t in walked])


def _overlap(seconds: dict[tuple[str, int], float], sizes: tuple[int, ...]) -> float:
    """Return the part of a reduction that messages hide: the median over the sizes where both take a while."""
    parts = []
    for n in sizes:
        messages, serial, mixed = (seconds[kind, n] for kind in ("exchange", "reduce", "pipeline"))
        shorter = min(messages, serial - messages)
        if shorter > 0.1 * serial:
            parts.append((serial - mixed) / shorter)
    return float(np.clip(np.median(parts), 0.0, 1.0)) if parts else 0.0


def _capacity(meter: Meter, nodes: list[int], across: bool, num_bytes: int) -> float | None:
    """Return the bytes a second of one node when all pairs exchange at once; None if there are too few pairs."""
    rank, pairs = meter.comm.rank, _pairs(nodes, across)
    mine = next((p for p in pairs if rank in p), None)
    pair = Pair(rank, mine[0] + mine[1] - rank, rank == mine[0]) if mine else None
    seconds = meter.typical(lambda: meter.run(exchange, pair, num_bytes, 2) / 2)
    busiest = max(sum(nodes[r] == node for p in pairs for r in p) for node in set(nodes))
    return busiest * num_bytes / seconds if busiest > 1 else None


def _pairs(nodes: list[int], across: bool) -> list[tuple[int, int]]:
    """Pair ranks of one node, or of two, each rank once."""
    free = list(range(len(nodes)))
    pairs = []
    while free:
        rank = free.pop(0)
        partner = next((r for r in free if (nodes[r] != nodes[rank]) == across), None)
        if partner is not None:
            free.remove(partner)
            pairs.append((rank, partner))
    return pairs

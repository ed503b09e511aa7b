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
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mpi4py import MPI

from ..collectives import Algorithm, Step
from ..collectives.price.calibration import Calibration, Wire, load_calibration
from ..collectives.price.curve import Curve
from .native import NativePlan
from .plan import Plan, Request
from .world import World

SIZES = tuple(4 << k for k in range(25))  # bytes: 4 B to 64 MB
SMALL = 8  # bytes of a flood's messages
TURNS = 4  # of a run; from LONG bytes on, 2
LONG = 1 << 20
FLOOD = 64  # messages
COLD_SIZES = tuple(1 << k for k in range(16, 26))  # bytes: 64 KB to 32 MB
COLD_REPEATS = 5
WALK = 1 << 26  # bytes of the buffer of a walk
SLEEP = 5e-4  # of a late receiver
TAG = 17

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Compute:
    reduce: Curve
    cold_reduce: Curve | None
    overlap: float
    launch: float


@dataclass(frozen=True)
class Pair:
    """Two ranks that talk while the others wait: what this rank does of it."""

    rank: int
    peer: int
    is_first: bool


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
    meter = _Meter(comm, repeats, world.oversubscribed)
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


def _measure_wire(meter: "_Meter", nodes: list[int], other: int, sizes: tuple[int, ...]) -> tuple[Wire, _Compute]:
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


def _capacity(meter: "_Meter", nodes: list[int], across: bool, num_bytes: int) -> float | None:
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


# ---- what is run: schedules of one pair; every message is one chunk


def ping_pong(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` times there and back."""
    out, back = Step(send_to=pair.peer, send=0), Step(recv_from=pair.peer, recv=0)
    for _ in range(turns):
        yield from (out, back) if pair.is_first else (back, out)


def exchange(pair: Pair, turns: int, reduce: bool = False) -> Iterator[Step]:
    """Yield ``turns`` steps in which each sends what it has received in the step before.

    What a core has just written is slow to read for another: messages that never change would look several times
    faster than those of a collective.
    """
    for turn in range(turns):
        mine, theirs = (0, 1) if pair.is_first == (turn % 2 == 0) else (1, 0)
        yield Step(send_to=pair.peer, send=mine, recv_from=pair.peer, recv=theirs, reduce=reduce)


def exchange_and_reduce(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` steps in which what is received is added."""
    yield from exchange(pair, turns, reduce=True)


def pipeline(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` steps that each reduce another chunk than the one before and after."""
    for turn in range(turns):
        mine, theirs = (0, 1) if pair.is_first == (turn % 4 < 2) else (1, 0)
        first = 2 * (turn % 2)
        yield Step(send_to=pair.peer, send=first + mine, recv_from=pair.peer, recv=first + theirs, reduce=True)


def walk(pair: Pair, turns: int, kind: str) -> Iterator[Step]:
    """Yield ``turns`` turns of a kind, each with two chunks of its own."""
    for turn in range(turns):
        mine, theirs = (2 * turn, 2 * turn + 1) if pair.is_first else (2 * turn + 1, 2 * turn)
        if kind == "one_way":
            out, back = Step(send_to=pair.peer, send=mine), Step(recv_from=pair.peer, recv=theirs)
            yield from (out, back) if pair.is_first else (back, out)
        else:
            yield Step(send_to=pair.peer, send=mine, recv_from=pair.peer, recv=theirs, reduce=kind == "reduce")


def flood(pair: Pair, turns: int) -> Iterator[Step]:
    """Yield ``turns`` messages from the first to the second."""
    for _ in range(turns):
        if pair.is_first:
            yield Step(send_to=pair.peer, send=0)
        else:
            yield Step(recv_from=pair.peer, recv=0)


Body = Callable[[Pair, int], Iterator[Step]]
NUM_CHUNKS: dict[Body, int] = {ping_pong: 1, flood: 1, exchange: 2, exchange_and_reduce: 2, pipeline: 4}


class _Meter:
    """Runs schedules of pairs and takes their time: the slowest rank's, the same number on every rank."""

    def __init__(self, comm: Any, repeats: int, yield_cpu: bool):
        self.comm, self._repeats, self._yield_cpu = comm, repeats, yield_cpu

    def run(self, body: Body, pair: Pair | None, num_bytes: int, turns: int) -> float:
        """Return the seconds of ``turns`` turns, planning left out."""
        plan = self._plan(list(body(pair, turns)) if pair else [], NUM_CHUNKS[body], num_bytes)
        self._time(plan)  # brings the buffers' pages in
        seconds = self._time(plan)
        plan.free()
        return seconds

    def walks(self, sizes: list[int], kinds: Iterable[str], pair: Pair | None) -> dict[str, list[tuple[int, float]]]:
        """Return, for each kind, the bytes and seconds of messages out of a long buffer."""
        found: dict[str, list[tuple[int, float]]] = {kind: [] for kind in kinds}
        for n in sizes:
            turns = WALK // (2 * n)
            for kind, points in found.items():
                plan = self._plan(list(walk(pair, turns, kind)) if pair else [], 2 * turns, n)
                steps = 2 * turns if kind == "one_way" else turns
                self._time(plan)
                points.append((n, _quartile([self._time(plan) / steps for _ in range(COLD_REPEATS)])))
                plan.free()
        return found

    def _plan(self, steps: list[Step], num_chunks: int, num_bytes: int) -> Plan:
        buffer = np.zeros(num_chunks * max(1, num_bytes // 4), np.float32)
        algorithm = Algorithm("measured", "all_reduce", lambda rank, size: iter(steps), lambda size: num_chunks)
        return Plan(self.comm, algorithm, buffer, tag=TAG, yield_cpu=self._yield_cpu)

    def native(self, num_bytes: int) -> float:
        """Return the seconds of the library's all-reduce."""
        plan = NativePlan(self.comm, np.zeros(max(1, num_bytes // 4), np.float32), yield_cpu=self._yield_cpu)
        return self.typical(lambda: self._time(plan))

    def interleaved(
        self, cells: list[tuple[str, int]], kinds: Mapping[str, Body], pair: Pair | None, launch: float
    ) -> dict[tuple[str, int], float]:
        """Return the seconds of one step of each cell (kind, bytes)."""
        found: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
        for _ in range(self._repeats):
            for kind, n in cells:
                body, turns = kinds[kind], TURNS if n < LONG else TURNS // 2
                steps = 2 * turns if body is ping_pong else turns
                found[kind, n].append((self.run(body, pair, n, turns) - launch) / steps)
        return {cell: max(0.0, _quartile(values)) for cell, values in found.items()}

    def typical(self, measure: Callable[[], float]) -> float:
        """Return the lower quartile of ``repeats`` measurements, the first of all thrown away."""
        measure()
        return _quartile([measure() for _ in range(self._repeats)])

    def eager_limit(self, pair: Pair | None, sizes: tuple[int, ...]) -> int:
        """Return the most bytes that are sent while the receiver sleeps, 0 if none are."""
        longest = 0
        for n in sizes:
            waited = self.typical(lambda n=n: self._send_to_sleeper(pair, n))  # type: ignore[misc]
            if waited > SLEEP / 2:
                break
            longest = n
        return longest

    def _send_to_sleeper(self, pair: Pair | None, num_bytes: int) -> float:
        buffer = np.zeros(max(1, num_bytes // 4), np.float32)
        seconds = 0.0
        self.comm.Barrier()
        if pair and pair.is_first:
            begin = time.perf_counter()
            self.comm.Send(buffer, pair.peer, TAG)
            seconds = time.perf_counter() - begin
        elif pair:
            time.sleep(SLEEP)
            self.comm.Recv(buffer, pair.peer, TAG)
        return float(self.comm.allreduce(seconds, MPI.MAX))

    def _time(self, plan: Request) -> float:
        self.comm.Barrier()
        begin = time.perf_counter()
        plan.start()
        plan.wait()
        return float(self.comm.allreduce(time.perf_counter() - begin, MPI.MAX))


def _quartile(values: list[float]) -> float:
    return float(np.percentile(values, 25))

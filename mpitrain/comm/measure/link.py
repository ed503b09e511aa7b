"""Benchmark of one kind of link, inside a node or across nodes, fitted to the price model."""

import math
from dataclasses import dataclass

import numpy as np

from ...collectives.price.calibration import Wire
from ...collectives.price.curve import Curve
from .pair_patterns import (
    TAKING_TURNS,
    Pair,
    exchange,
    exchange_and_reduce,
    flood,
    ping_pong,
    ping_pong_and_reduce,
    pipeline,
)
from .timing import PairTimer, Samples

KINDS = {
    "one_way": ping_pong,
    "reduce_alone": ping_pong_and_reduce,
    "exchange": exchange,
    "reduce": exchange_and_reduce,
    "pipeline": pipeline,
}
SMALL = 8  # bytes of a flood's messages
TURNS = 4  # per run; fewer from LONG bytes on, to use no more memory than a collective
LONG = 1 << 20
FLOOD = 64  # messages
STREAM = 8, 1 << 16  # least messages of a stream of longer ones, and least bytes, since a network may let bursts pass
WALKED = ("one_way", "reduce_alone", "exchange", "reduce")
WALK_SIZES = (1 << 16, 1 << 25)  # shortest and longest messages in bytes
LONGEST_WARM = 1 << 22  # bytes; without messages of this length no buffer leaves the caches
WALK_EVERY = 8  # passes: walks are long, and vary less
CAPACITY_BYTES = 1 << 22
AFFORDABLE = 1.5  # seconds of a pass for messages of one length; longer ones are extrapolated
TRIES = 3  # of which the shortest counts, since one may be disturbed

Times = dict[str, dict[int, float]]  # seconds by kind and bytes


@dataclass(frozen=True)
class Compute:
    """Costs of a rank's own work; see ``Calibration``."""

    reduce: Curve
    cold_reduce: Curve | None
    reduce_alone: Curve | None
    cold_reduce_alone: Curve | None
    overlap: float
    launch: float


class LinkBenchmark:
    """Benchmark of messages between rank 0 and ``other``, and of all pairs at once.

    Parameters
    ----------
    timer : PairTimer
    nodes : list of int
        The node of each rank.
    other : int
    sizes : tuple of int
        Bytes of the messages.
    """

    def __init__(self, timer: PairTimer, nodes: list[int], other: int, sizes: tuple[int, ...]):
        rank = timer.comm.rank
        self._timer = timer
        self._pair = Pair(rank, {0: other, other: 0}[rank], rank == 0) if rank in (0, other) else None
        pairs = pair_up(nodes, nodes[0] != nodes[other])
        mine = next((p for p in pairs if rank in p), None)
        self._crowd = Pair(rank, sum(mine) - rank, rank == mine[0]) if mine else None
        busiest = max(sum(nodes[r] == node for p in pairs for r in p) for node in set(nodes))
        self._busiest = busiest if len(pairs) > 1 else 0
        self._eager = self._eager_limit(sizes)
        self.restart(sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of the messages that are measured."""
        return self._sizes

    def restart(self, sizes: tuple[int, ...]) -> None:
        """Discard the measurements except the eager limit, and continue with those of ``sizes`` that are affordable."""
        self._sizes, self._samples, self._passes = self._affordable(sizes), Samples(), 0
        walks = self._sizes == sizes and sizes[-1] >= LONGEST_WARM  # slower links leave time for any memory
        self._walk_sizes = [n for n in sizes if walks and WALK_SIZES[0] <= n <= WALK_SIZES[1]]
        self._capacity_bytes = min(self._sizes[-1], CAPACITY_BYTES)

    def _affordable(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes before the first one that would make a pass long, at least one; the same on every rank."""
        for place, n in enumerate(sizes[1:], 1):
            steps = sum(_turns(kind, n) * (2 if kind in TAKING_TURNS else 1) for kind in KINDS)
            steps += _streamed(n) if n <= self._eager else 0
            longest = AFFORDABLE / (2 * steps)  # seconds of an exchange; each run is made twice
            if all(self._timer.run(exchange, self._pair, n, 1) > longest for _ in range(TRIES)):
                return sizes[:place]
        return sizes

    def measure(self) -> None:
        """Measure everything once, kinds and sizes in turn."""
        run, add, pair = self._timer.run, self._samples.add, self._pair
        add("once", run(exchange, pair, SMALL, 1))
        add("many", run(exchange, pair, SMALL, FLOOD) / FLOOD)
        add("flood", run(flood, pair, SMALL, FLOOD) / FLOOD)
        for n in self._sizes:
            for kind, body in KINDS.items():
                add((kind, n), run(body, pair, n, _turns(kind, n)))
            if n <= self._eager:
                count = _streamed(n)
                add(("stream", n), run(flood, pair, n, count) / count)
        if self._passes % WALK_EVERY == 0:
            for n in self._walk_sizes:
                for kind in WALKED:
                    add(("walk", kind, n), self._timer.walk(kind, pair, n))
        if self._busiest:
            add("capacity", run(exchange, self._crowd, self._capacity_bytes, 2) / 2)
        self._passes += 1

    def fit(self, share: float) -> tuple[Wire, Compute]:
        """Return the wire and the costs of a rank's own work, from the quantile ``share`` of the measurements."""
        launch = max(0.0, self._typical("once", share) - self._typical("many", share))
        seconds = {(kind, n): self._step(kind, n, launch, share) for kind in KINDS for n in self._sizes}
        walked = {kind: {n: self._typical(("walk", kind, n), share) for n in self._walk_sizes} for kind in WALKED}
        flooded = self._typical("flood", share)
        fastest = {kind: min(seconds[kind, n] for n in self._sizes) for kind in ("exchange", "one_way")}
        overhead = min(flooded, 0.4 * fastest["exchange"], 0.8 * fastest["one_way"])
        one_way = Curve((n, seconds["one_way", n]) for n in self._sizes).shifted(-overhead)
        exchanged = Curve((n, seconds["exchange", n]) for n in self._sizes).shifted(-2 * overhead)
        warm = {kind: {n: seconds[kind, n] for n in self._sizes} for kind in KINDS}
        reduced, cold_reduced = _work(warm, walked, "reduce", "exchange")
        alone, cold_alone = _work(warm, walked, "reduce_alone", "one_way")
        stream = [(n, self._typical(("stream", n), share)) for n in self._sizes if n <= self._eager]
        wire = Wire(
            one_way,
            exchanged,
            send_overhead=overhead,
            recv_overhead=overhead,
            gap=flooded,
            eager=float(self._eager),
            capacity=self._capacity(share),
            cold_one_way=_extended(one_way, walked["one_way"]),
            cold_exchange=_extended(exchanged, walked["exchange"]),
            stream=Curve(stream) if stream else None,
        )
        overlap = _overlap(seconds, self._sizes)
        return wire, Compute(reduced, cold_reduced, alone, cold_alone, overlap, launch)

    def _typical(self, key: object, share: float) -> float:
        return self._samples.typical(key, share)

    def _step(self, kind: str, num_bytes: int, launch: float, share: float) -> float:
        steps = _turns(kind, num_bytes) * (2 if kind in TAKING_TURNS else 1)
        measured = self._typical((kind, num_bytes), share)
        return max(measured - launch, 0.1 * measured) / steps  # launch is an estimate; no message takes no time

    def _capacity(self, share: float) -> float | None:
        """Return the bytes per second of one node when all pairs exchange at once, None if there are too few pairs."""
        if not self._busiest:
            return None
        return self._busiest * self._capacity_bytes / self._typical("capacity", share)

    def _eager_limit(self, sizes: tuple[int, ...]) -> int:
        """Return the longest message that is sent while its receiver sleeps, 0 if none is."""
        longest = 0
        for n in sizes:
            if not self._timer.is_eager(self._pair, n):
                break
            longest = n
        return longest


def pair_up(nodes: list[int], across: bool) -> list[tuple[int, int]]:
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


def _turns(kind: str, num_bytes: int) -> int:
    if num_bytes < LONG:
        return TURNS
    return 1 if kind == "reduce" else 2


def _streamed(num_bytes: int) -> int:
    """Return the number of messages of a stream."""
    messages, length = STREAM
    return max(messages, min(FLOOD, length // num_bytes))


def _work(warm: Times, walked: Times, whole: str, messages: str) -> tuple[Curve, Curve]:
    """Return ``whole`` minus its ``messages``, in short buffers and in long ones."""
    curve, cold = ({n: max(0.0, t - times[messages][n]) for n, t in times[whole].items()} for times in (warm, walked))
    return Curve(curve.items()), _extended(Curve(curve.items()), cold)


def _extended(warm: Curve, walked: dict[int, float]) -> Curve:
    """Return the curve through ``walked``, and through ``warm`` for shorter messages."""
    shortest = min(walked, default=math.inf)
    return Curve([(n, t) for n, t in warm.points if n < shortest / 2] + [(float(n), t) for n, t in walked.items()])


def _overlap(seconds: dict[tuple[str, int], float], sizes: tuple[int, ...]) -> float:
    """Return the part of a reduction that messages hide, the median over sizes where both take long enough."""
    parts = []
    for n in sizes:
        messages, serial, mixed = (seconds[kind, n] for kind in ("exchange", "reduce", "pipeline"))
        shorter = min(messages, serial - messages)
        if shorter > 0.1 * serial:
            parts.append((serial - mixed) / shorter)
    return float(np.clip(np.median(parts), 0.0, 1.0)) if parts else 0.0

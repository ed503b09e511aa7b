"""Counts of a launch by source line, and the bounds on its speed that follow from them.

Sources: NVIDIA 2022, "H100 Tensor Core GPU Architecture", and 2020, "A100 Tensor Core GPU Architecture" (processors,
lanes, clocks, memory); Williams, Waterman and Patterson 2009, "Roofline".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .task import Task
from .words import Names

SECTOR_BYTES = 32
SECTORS_A_TURN = 4  # that the load units pass in a clock
WARP = 32
WAYS = ("load", "store", "atomic")


@dataclass(frozen=True)
class Machine:
    """A GPU.

    Attributes
    ----------
    lanes : int
        fp32 multiply-adds of a processor in a clock.
    bandwidth : float
        Of its memory, bytes per second.
    """

    name: str
    processors: int
    lanes: int
    clock_hz: float
    bandwidth: float

    @property
    def peak(self) -> float:
        """Multiply-adds per second."""
        return self.processors * self.lanes * self.clock_hz


MACHINES = (Machine("H100", 132, 128, 1.98e9, 3.35e12), Machine("A100", 108, 64, 1.41e9, 2.04e12))


@dataclass
class LineCount:
    """Accesses of one line to one array, of all warps.

    Attributes
    ----------
    requests, lanes : int
        Of warps; of single threads.
    transactions, least : int
        Sectors of 32 bytes in global memory, or turns of the 32 banks of shared memory; and the least for these bytes.
    merged : int
        Turns where a compiler loads each word once between barriers, and neighboring words of a thread together.
    worst, worst_least : int
        The same of the request that exceeds its least by most.
    offsets : list of int
        The bytes, from the array's begin, where that request's lanes begin; -1 for a lane that takes no part.
    """

    line: int
    array: str
    is_shared: bool
    way: str
    bytes: int
    requests: int
    lanes: int
    transactions: int
    least: int
    merged: int
    worst: int
    worst_least: int
    worst_block: list[int]
    worst_warp: int
    offsets: list[int]
    grid: tuple[int, ...] = (1, 1, 1)

    @property
    def ratio(self) -> float:
        """Transactions per transaction that is needed."""
        return self.transactions / self.least

    @property
    def loses(self) -> bool:
        """True if it takes more than it needs. Up to 4 sectors, the bytes of one line, cost no more than a full one."""
        free = 0 if self.is_shared else SECTORS_A_TURN * self.requests
        return self.transactions > max(self.least, free)

    @property
    def name(self) -> str:
        """The words for the access: "shared load of tile"."""
        return f"{'shared' if self.is_shared else 'global'} {self.way} of {self.array}"


@dataclass(frozen=True)
class Bound:
    """The most that a machine could do.

    Attributes
    ----------
    by_units : float
        Share that the load units allow with the accesses as the file has them.
    by_merged : float
        The same where the compiler merges accesses to shared memory.
    by_memory : float
        Share that memory allows if no cache helped.
    """

    machine: Machine
    by_units: float
    by_merged: float
    by_memory: float


@dataclass
class Counts:
    """Counts of the launch with the sizes ``sizes``."""

    task: Task
    sizes: Mapping[str, int]
    lines: list[LineCount]
    barriers: float  # of a block
    work: int

    @cached_property
    def rates(self) -> dict[str, float]:
        """Counts that goals bound: loads for a unit of work, and the worst line's transactions per needed one."""
        parts = {
            "global": [ln for ln in self.lines if not ln.is_shared],
            "shared": [ln for ln in self.lines if ln.is_shared],
        }
        found = {}
        for space, lines in parts.items():
            for way in WAYS[:2]:
                found[f"{space} {way}s"] = sum(ln.lanes for ln in lines if ln.way == way) / self.work
        found["global sectors"] = max((ln.ratio for ln in parts["global"] if ln.loses), default=1.0)
        found["shared transactions"] = max((ln.ratio for ln in parts["shared"]), default=1.0)
        return found

    @property
    def words_loaded(self) -> float:
        """Words of global memory that threads load for a unit of work."""
        loads = (line for line in self.lines if not line.is_shared and line.way == "load")
        return sum(line.lanes * line.bytes / 4 for line in loads) / self.work

    @property
    def moved_bytes(self) -> int:
        """Bytes of the sectors that global memory is asked for."""
        return SECTOR_BYTES * sum(line.transactions for line in self.lines if not line.is_shared)

    @property
    def of_peak(self) -> bool:
        """True if arithmetic is the limit of the task, not memory."""
        return self.task.unit == "multiply-add"

    def bounds(self) -> list[Bound]:
        """Return the bounds on each machine: shares of the fp32 peak, or of the speed of a copy."""
        others = [line for line in self.lines if not line.is_shared]
        turns = sum(max(line.requests, line.transactions / SECTORS_A_TURN) for line in others)
        shared = [line for line in self.lines if line.is_shared]
        written = turns + sum(line.transactions for line in shared)
        merged = turns + sum(min(line.merged, line.transactions) for line in shared)
        found = []
        for machine in MACHINES:
            best = self.work / machine.peak if self.of_peak else self.task.least_bytes(self.sizes) / machine.bandwidth
            clocks = best * machine.processors * machine.clock_hz
            shares = clocks / written, clocks / merged, best * machine.bandwidth / self.moved_bytes
            found.append(Bound(machine, *(min(1.0, share) for share in shares)))
        return found


def count(task: Task, result: Mapping[str, Any], names: Names) -> Counts:
    """Return the counts of a run that was counted, by line, array and way."""
    merged: dict[tuple[int, int, int], LineCount] = {}
    for record in result["lines"]:
        line = names.lines.get(record["instruction"], 0)
        key = line, record["array"], record["way"]
        values = {name: record[name] for name in ("requests", "lanes", "transactions", "least", "merged")}
        worst = {
            name: record[name] for name in ("worst", "worst_least", "worst_block", "worst_warp", "offsets", "bytes")
        }
        known = merged.get(key)
        if known is None:
            is_shared = names.is_shared(record["array"])
            way = WAYS[record["way"]]
            merged[key] = LineCount(
                line, names.array(record["array"]), is_shared, way, **values, **worst, grid=names.run["grid"]
            )
            continue
        for name, value in values.items():
            setattr(known, name, getattr(known, name) + value)
        if record["worst"] - record["worst_least"] > known.worst - known.worst_least:
            for name, value in worst.items():
                setattr(known, name, value)
    sizes, blocks = names.run["sizes"], math.prod(names.run["grid"])
    work = task.work(*(sizes[name] for name in task.sizes)) if task.work else task.least_bytes(sizes) // 8
    lines = sorted(merged.values(), key=lambda line: (line.line, line.array, line.way))
    return Counts(task, sizes, lines, result["barriers"] / blocks, work)

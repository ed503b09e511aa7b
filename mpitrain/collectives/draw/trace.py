"""Traces: the file format of recorded runs.

A trace is text, one JSON object a line: a head, then one line for each step of each rank, times in seconds on the
clock of rank 0, from the moment at which the first rank began.

    {"format": "mpitrain-trace", "version": 1, "algorithm": "ring", "size": 4, "num_bytes": 1048576, ...}
    {"rank": 0, "step": 0, "start": 0.0, "end": 0.000113, "peer": 1, "bytes": 262144}
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...json_lines import parse_lines, read_lines, whole
from ...json_text import to_json

FORMAT, VERSION = "mpitrain-trace", 1
MAX_TRACED = 64  # ranks; more lines cannot be distinguished


@dataclass(frozen=True)
class TraceEvent:
    """One step of one rank.

    Parameters
    ----------
    rank, step : int
        Whose, and its number in the schedule, from 0.
    start, end : float
        Seconds.
    peer : int or None
        Sent to; or received from where nothing was sent.
    bytes : int
        Sent; or received where nothing was sent.
    """

    rank: int
    step: int
    start: float
    end: float
    peer: int | None
    bytes: int


@dataclass(frozen=True)
class Trace:
    """A recorded run of one collective.

    Parameters
    ----------
    algorithm : str
        As ``find`` finds it.
    size, num_bytes : int
        P, and the length of the buffer.
    events : list of TraceEvent
    clock_error : float
        By how many seconds the clocks of two ranks may differ, at most.
    library : str
        The MPI library.
    """

    algorithm: str
    size: int
    num_bytes: int
    events: list[TraceEvent]
    clock_error: float = 0.0
    library: str = ""

    @property
    def seconds(self) -> float:
        """From the first start to the last end."""
        if not self.events:
            return 0.0
        return max(e.end for e in self.events) - min(e.start for e in self.events)


def format_trace(trace: Trace) -> str:
    """Return the text of a trace file."""
    head = {"format": FORMAT, "version": VERSION} | {f.name: getattr(trace, f.name) for f in fields(Trace)}
    del head["events"]
    return "".join(to_json(line) + "\n" for line in (head, *(asdict(event) for event in trace.events)))


def parse_trace(lines: Iterable[str], name: str = "the trace") -> Trace:
    """Return the trace in the ``lines`` of a file.

    Raises
    ------
    UserError
        Names the line that is wrong, and why.
    """
    head, rows = parse_lines(lines, name, format=FORMAT, version=VERSION, kind="trace")
    try:
        size, num_bytes = whole(head["size"]), whole(head["num_bytes"])
        trace = Trace(str(head["algorithm"]), size, num_bytes, [], float(head["clock_error"]), str(head["library"]))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{name}, line 1: the head of a trace needs {', '.join(_HEAD)}") from None
    for number, row in enumerate(rows, 2):
        trace.events.append(_event(row, size, f"{name}, line {number}"))
    return trace


_HEAD = tuple(f.name for f in fields(Trace) if f.name != "events")
_EVENT = tuple(f.name for f in fields(TraceEvent))


def _event(row: dict[str, Any], size: int, where: str) -> TraceEvent:
    try:
        peer = None if row["peer"] is None else whole(row["peer"])
        event = TraceEvent(
            whole(row["rank"]), whole(row["step"]), float(row["start"]), float(row["end"]), peer, whole(row["bytes"])
        )
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where}: a step needs {', '.join(_EVENT)}") from None
    if event.rank >= size or (event.peer or 0) >= size:
        raise UserError(f"{where}: ranks go from 0 to {size - 1}")
    if not (math.isfinite(event.start) and math.isfinite(event.end) and event.start <= event.end):
        raise UserError(f"{where}: a step ends after it starts")
    return event


def read_trace(path: str | Path) -> Trace:
    """Read a trace file."""
    return parse_trace(read_lines(path, "trace"), str(path))


def trace_data(trace: Trace) -> dict[str, Any]:
    """Return the trace for the page: events as [rank, step, start, end, bytes], seconds from the first start."""
    first = min((event.start for event in trace.events), default=0.0)
    events = [[e.rank, e.step, round(e.start - first, 9), round(e.end - first, 9), e.bytes] for e in trace.events]
    head = {name: getattr(trace, name) for name in _HEAD}
    return head | {"events": events}

"""Events of a trace in Chrome's Trace Event Format, which ui.perfetto.dev opens.

    M    names and order of processes (a rank each) and threads (the tracks of a rank)
    X    a span with its begin and length; spans of one track lie inside each other or apart
    C    a counter for each rank: bytes of gradients on their way
    s f  an arrow from the rank that comes last to a collective, to each rank that waits for it

Times are whole nanoseconds, written in microseconds. Begin and end are rounded, not begin and length: so a span that
ends with its parent does not end after it, which Perfetto would drop. Perfetto finds threads by their numbers alone,
and has a meaning of its own for process 0: ranks are processes from 1 on, and no two tracks have the same number.

Source: "Trace Event Format" (Duca & Sinclair 2016); ph, ts, dur, pid, tid, cat, id and bp are its names.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .kinds import MESSAGE, WAITING

COMPUTING, CALLS, STEPS, TASKS = "computing", "calls that wait", "steps", "tasks of the pipeline"
TRACKS = (STEPS, COMPUTING, CALLS)  # of every rank, in this order
SUM_OF = "the sum of "  # begins the name of a wait for a bucket, whose messages have a track of their own
ON_THE_WAY = "gradient bytes on the way"
LATE = 20e-6  # seconds for which a rank waits for another before an arrow says so
LENGTH = re.compile(r" of ([\d,]+) bytes")

Event = dict[str, Any]


class Span(NamedTuple):
    """Time span with a name, in seconds of this rank's clock, and its kind (``kinds``)."""

    track: str
    name: str
    begin: float
    end: float
    kind: str


Ranks = Sequence[tuple[float, Sequence[Span]]]
"""Clock offset and spans of each rank."""


def trace_events(ranks: Ranks) -> list[Event]:
    """Return the events of all ranks on one clock, whose zero is the first begin."""
    first = min((span.begin + offset for offset, spans in ranks for span in spans), default=0.0)
    moved = [
        [span._replace(begin=span.begin + offset - first, end=span.end + offset - first) for span in spans]
        for offset, spans in ranks
    ]
    numbers = itertools.count(len(ranks) + 1)
    tracks = [
        {
            track: process_of(rank) if track == STEPS else next(numbers)
            for track in dict.fromkeys([*TRACKS, *(span.track for span in spans)])
        }
        for rank, spans in enumerate(moved)
    ]
    named = [event for rank, names in enumerate(tracks) for event in _names(rank, names)]
    timed = [event for rank, spans in enumerate(moved) for event in _spans(rank, spans, tracks[rank])]
    timed += [event for rank, spans in enumerate(moved) for event in _on_the_way(rank, spans)]
    timed += _arrows(moved, tracks)
    return named + sorted(timed, key=lambda event: (event["ts"], -event.get("dur", 0.0)))


def process_of(rank: int) -> int:
    """Return the number of the process that stands for a rank, which is that of its first track, too."""
    return rank + 1


def rank_of(process: int) -> int:
    """Return the rank of a process."""
    return process - 1


def _names(rank: int, tracks: dict[str, int]) -> Iterator[Event]:
    pid = process_of(rank)
    yield {"ph": "M", "pid": pid, "tid": pid, "name": "process_name", "args": {"name": f"rank {rank}"}}
    yield {"ph": "M", "pid": pid, "tid": pid, "name": "process_sort_index", "args": {"sort_index": rank}}
    for place, (track, number) in enumerate(tracks.items()):
        yield {"ph": "M", "pid": pid, "tid": number, "name": "thread_name", "args": {"name": track}}
        yield {"ph": "M", "pid": pid, "tid": number, "name": "thread_sort_index", "args": {"sort_index": place}}


def _spans(rank: int, spans: Sequence[Span], tracks: dict[str, int]) -> Iterator[Event]:
    for span in spans:
        begin, end = _nanoseconds(span.begin), _nanoseconds(span.end)
        times = {"ts": _microseconds(begin), "dur": _microseconds(end - begin)}
        place = {"ph": "X", "pid": process_of(rank), "tid": tracks[span.track]}
        yield {**place, **times, "name": span.name, "cat": span.kind}


def _on_the_way(rank: int, spans: Sequence[Span]) -> Iterator[Event]:
    """Yield the counter of bytes whose sums were begun and have not ended."""
    changes = []
    for span in spans:
        if span.kind == MESSAGE and (found := LENGTH.search(span.name)):
            length = int(found[1].replace(",", ""))
            changes += [(_nanoseconds(span.begin), length), (_nanoseconds(span.end), -length)]
    total, pid = 0, process_of(rank)
    for at, change in sorted(changes):
        total += change
        times = {"ts": _microseconds(at)}
        yield {"ph": "C", "pid": pid, "tid": pid, **times, "name": ON_THE_WAY, "args": {"bytes": total}}


def _arrows(ranks: Sequence[Sequence[Span]], tracks: Sequence[dict[str, int]]) -> Iterator[Event]:
    """Yield an arrow for each wait for a rank that comes late: from its call to that of the rank that waits.

    The calls of all ranks with the same text belong together, in the order of their begins.
    """
    calls: dict[tuple[str, int], dict[int, Span]] = defaultdict(dict)
    for rank, spans in enumerate(ranks):
        counts: dict[str, int] = defaultdict(int)
        for span in sorted(spans, key=lambda span: span.begin):
            if span.kind in (MESSAGE, WAITING) and not span.name.startswith(SUM_OF):
                calls[span.name, counts[span.name]][rank] = span
                counts[span.name] += 1
    number = 0
    for (name, _), found in calls.items():
        last = max(found, key=lambda rank: found[rank].begin)
        at = found[last].begin
        for rank, span in found.items():
            if span.begin + LATE < at < span.end:
                number += 1
                times = {"ts": _microseconds(_nanoseconds(at))}
                common = {"id": number, **times, "name": f"came last to {name}", "cat": "late"}
                yield {"ph": "s", "pid": process_of(last), "tid": tracks[last][found[last].track], **common}
                yield {"ph": "f", "bp": "e", "pid": process_of(rank), "tid": tracks[rank][span.track], **common}


def _nanoseconds(seconds: float) -> int:
    return round(1e9 * seconds)


def _microseconds(nanoseconds: int) -> float:
    """Return a time for the file: a tenth of a nanosecond more, since Perfetto cuts off what rounding has taken away.

    >>> [int(1000 * _microseconds(n)) - n for n in (1001, 4_097, 5_000_000_001)]
    [0, 0, 0]
    """
    return round((nanoseconds + 0.1) / 1000, 4)

"""``--profile``: trace of every rank's layers and messages, for ui.perfetto.dev.

Layers report to an observer, and larger parts of a step to the run's timeline; without ``--profile`` neither has
listeners. Collectives come from the ledger, which notes them anyway. All clocks are set by rank 0's.

The file is Chrome's trace format, "JSON Array Format" with complete events (ph X): a process for each rank, in it a
track for what the rank computes, one for calls that wait, and one for each gradient bucket, whose messages are on
their way while others are computed.
"""

import time
from pathlib import Path
from threading import get_ident
from typing import Any, NamedTuple

from ...comm.measure.trace import clock_offset
from ...comm.watch.ledger import Ledger
from ...comm.world import World
from ...json_text import to_json
from ...layers import Layer
from ...layers.base import Phase
from ..weights import write_atomically
from .base import Hook, StepInfo

MOST = 200_000  # spans of a rank: about 60 MB of JSON
COMPUTING, CALLS = "computing", "calls that wait"


class Span(NamedTuple):
    """Time span with a name, in seconds of this rank's clock."""

    track: str
    name: str
    begin: float
    end: float


class Profiler(Hook):
    """Hook that records the spans of a run, from its first step on."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def train_begin(self, info: StepInfo) -> None:
        """Begin to record."""
        self._observe(info.model)
        info.run.timeline.listeners.append(self._timed)
        info.run.data_parallel.on_timed = self._timed
        self._listen(info.run.world.ledger)

    def _timed(self, name: str, begin: float, end: float) -> None:
        self._note(Span(COMPUTING, name, begin, end))

    def _observe(self, model: Layer) -> None:
        names = {layer: f"{name} {layer.kind}".strip() for name, layer in model.running()}
        begins: dict[tuple[Layer, int], float] = {}  # of each thread: virtual shards have some

        def observe(layer: Layer, phase: Phase, array: Any) -> None:
            key, now = (layer, get_ident()), time.perf_counter()
            if phase in ("forward", "backward"):
                begins[key] = now
            else:
                direction = "forward" if phase == "output" else "backward"
                self._note(Span(COMPUTING, f"{names[layer]} {direction}", begins[key], now))

        model.observe(observe)

    def _listen(self, ledger: Ledger) -> None:
        def ended(at: int) -> None:
            entry = ledger.mine.entry(at)
            is_bucket = "(bucket" in entry.text
            track = entry.text.partition("(")[2].partition(")")[0] if is_bucket else CALLS
            self._note(Span(track, entry.text, entry.began, entry.ended))

        ledger.on_end = ended

    def _note(self, span: Span) -> None:
        if len(self.spans) < MOST:
            self.spans.append(span)

    def save(self, world: World, path: Path) -> None:
        """Write the spans of all ranks, on rank 0's clock; all ranks call it together."""
        spans = self.spans.copy()
        offset, _ = clock_offset(world)
        everything = world.all_gather((offset, spans))
        with world.together():
            if world.rank == 0:
                write_atomically(path, to_json(trace_events(everything)))


def trace_events(ranks: list[tuple[float, list[Span]]]) -> list[dict[str, Any]]:
    """Return the events of all ranks, given as (clock offset, spans), in microseconds from 0."""
    first = min((span.begin + offset for offset, spans in ranks for span in spans), default=0.0)
    events: list[dict[str, Any]] = []
    for rank, (offset, spans) in enumerate(ranks):
        names = dict.fromkeys([COMPUTING, CALLS, *(span.track for span in spans)])
        tracks = {track: number for number, track in enumerate(names)}
        events.append({"ph": "M", "pid": rank, "name": "process_name", "args": {"name": f"rank {rank}"}})
        for track, number in tracks.items():
            events.append({"ph": "M", "pid": rank, "tid": number, "name": "thread_name", "args": {"name": track}})
        for span in spans:
            begin = round(1e6 * (span.begin + offset - first), 2)
            length = round(1e6 * (span.end - span.begin), 2)
            place = {"ph": "X", "pid": rank, "tid": tracks[span.track], "ts": begin, "dur": length}
            events.append({**place, "name": span.name})
    return events

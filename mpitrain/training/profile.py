"""``--profile``: where every rank was, layer by layer and message by message, as a trace for ui.perfetto.dev.

What is to be timed is wrapped where it is called, on this trainer's own objects only: without ``--profile`` nothing is
there to cost anything. Collectives come out of the ledger, which notes them anyway. All clocks are set by rank 0's.

The file is Chrome's trace format, "JSON Array Format" with complete events (ph X): a process for each rank, in it a
track for what the rank computes, one for calls that wait, and one for each gradient bucket, whose messages are on
their way while others are computed.
"""

import time
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

from ..comm.measure.trace import clock_offset
from ..comm.watch.ledger import Ledger
from ..comm.world import World
from ..json_text import to_json
from ..layers import Layer
from ..layers.base import Phase
from .weights import write_atomically

if TYPE_CHECKING:
    from .trainer import Trainer

MOST = 200_000  # spans of a rank: about 60 MB of JSON
COMPUTING, CALLS = "computing", "calls that wait"


class Span(NamedTuple):
    """Something that took a while, in seconds of this rank's clock."""

    track: str
    name: str
    begin: float
    end: float


class Profiler:
    """Notes what ``trainer`` does from now on."""

    def __init__(self, trainer: "Trainer"):
        self.spans: list[Span] = []
        self._observe(trainer.session.model)
        self._time(trainer.data_parallel, "update", "update")
        self._time(trainer.data_parallel, "norm", "norm of the gradient")
        self._time(trainer, "_end_epoch", "end of an epoch")
        if trainer.writer is not None:
            self._time(trainer.writer, "begin", "checkpoint: copy")
            self._time(trainer.writer, "end", "checkpoint: complete")
        self._listen(trainer.world.ledger)

    def _time(self, owner: Any, name: str, called: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return inner(*args, **options)
            finally:
                self._note(Span(COMPUTING, called, begin, time.perf_counter()))

        setattr(owner, name, timed)

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
        inner = ledger.end

        def end(at: int) -> None:
            inner(at)
            entry = ledger.mine.entry(at)
            is_bucket = "(bucket" in entry.text
            track = entry.text.partition("(")[2].partition(")")[0] if is_bucket else CALLS
            self._note(Span(track, entry.text, entry.began, entry.ended))

        ledger.end = end  # type: ignore[method-assign]

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
    """Return the events of all ranks, given as (what to add to the clock, spans); times become microseconds from 0."""
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

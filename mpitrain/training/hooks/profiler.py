"""``--profile``: trace of every rank's layers and messages, for ui.perfetto.dev.

Layers report to an observer, and larger parts of a step to the run's timeline; without ``--profile`` neither has
listeners. Collectives come from the ledger, which notes them anyway. All clocks are set by rank 0's.

The file is Chrome's trace format (``profiles/events.py``): a process for each rank, in it a track for its steps, one
for what it computes (of each thread), one for calls that wait, and one for each gradient bucket, whose messages are on
their way while others are computed.
"""

import time
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any

from ...comm.group import Group
from ...comm.start import library_name
from ...comm.watch.ledger import Ledger
from ...comm.watch.slot import INPUT as INPUT_TEXT
from ...comm.world import World
from ...data.files import write_atomically
from ...json_text import to_json
from ...layers import Layer
from ...layers.base import Phase
from ...pipelines import Program, Task
from ...pipelines.trace import Span as TaskSpan
from ...pipelines.trace import Trace, format_trace
from ...profiles.events import CALLS, COMPUTING, STEPS, SUM_OF, TASKS, Span, trace_events
from ...profiles.kinds import INPUT, MESSAGE, OUTSIDE, STEP, TASK, UPDATE, WAITING, kind_of_layer
from .base import Hook, StepInfo

MOST = 200_000  # spans of a rank: about 60 MB of JSON


class Profiler(Hook):
    """Hook that records the spans of a run, from its first step on."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._most_samples = 0
        self._task_spans: list[tuple[Task, float, float]] = []
        self._task_error = 0.0
        self._input_began: float | None = None  # of the step that is next
        self._step_began = 0.0
        self._threads: dict[int, str] = {}

    def train_begin(self, info: StepInfo) -> None:
        """Begin to record."""
        self._observe(info.model)
        self._threads = {get_ident(): COMPUTING}
        info.run.timeline.listeners.append(partial(self._timed, OUTSIDE))
        info.run.data_parallel.on_timed = partial(self._timed, UPDATE)
        self._listen(info.run.world.ledger)

    def step_begin(self, info: StepInfo) -> None:
        """Begin the span of a step, where the wait for its input began."""
        self._step_began = time.perf_counter() if self._input_began is None else self._input_began
        self._input_began = None
        self._threads = {get_ident(): COMPUTING}

    def step_end(self, info: StepInfo) -> None:
        """End the span of a step; keep the tasks of a pipeline, those of the last full step for a trace of their own.

        The host waits here for its device, between two steps.
        """
        self._note(Span(STEPS, f"step {info.step}", self._step_began, time.perf_counter(), STEP))
        if info.run.runner is None:
            return
        times, error = info.run.runner.times.on_host_clock()
        spans = [(task, begin, end) for task, (begin, end) in zip(info.run.runner.tasks, times, strict=True)]
        for task, begin, end in spans:
            self._note(Span(TASKS, str(task), begin, end, TASK))
        samples = sum(map(len, info.batches))
        if samples >= self._most_samples:
            self._most_samples, self._task_spans, self._task_error = samples, spans, error

    def save_tasks(self, pipe: Group, program: Program, path: Path) -> None:
        """Write the tasks of one step, of the pipeline of rank 0, as a trace for ``mpitrain pipeline trace``.

        All ranks of each pipeline call it together. Where no step was made, nothing is written.
        """
        from ...comm.measure.trace import clock_offset

        offset, error = clock_offset(pipe)
        everything = pipe.all_gather((offset, error + self._task_error, self._task_spans))
        spans = [
            TaskSpan(rank, task, begin + offset, end + offset)
            for rank, (offset, _, own) in enumerate(everything)
            for task, begin, end in own
        ]
        first = min((span.begin for span in spans), default=0.0)
        spans = [span._replace(begin=span.begin - first, end=span.end - first) for span in spans]
        worst = max(error for _, error, _ in everything)
        trace = Trace(program.name, pipe.size, program.num_microbatches, spans, worst, library_name())
        if pipe.world_ranks[pipe.rank] == 0 and all(own for _, _, own in everything):
            write_atomically(path, format_trace(trace))

    def _timed(self, kind: str, name: str, begin: float, end: float) -> None:
        self._note(Span(COMPUTING, name, begin, end, kind))

    def _observe(self, model: Layer) -> None:
        names = {layer: f"{name} {layer.kind}".strip() for name, layer in model.running()}
        kinds = {layer: kind_of_layer(layer.kind) for layer in names}
        begins: dict[tuple[Layer, int], float] = {}  # of each thread: virtual shards have some

        def observe(layer: Layer, phase: Phase, array: Any) -> None:
            key, now = (layer, get_ident()), time.perf_counter()
            if phase in ("forward", "backward"):
                begins[key] = now
            else:
                direction = "forward" if phase == "output" else "backward"
                self._note(Span(self._track(), f"{names[layer]} {direction}", begins[key], now, kinds[layer]))

        model.observe(observe)

    def _listen(self, ledger: Ledger) -> None:
        def ended(at: int) -> None:
            entry = ledger.mine.entry(at)
            if entry.text == INPUT_TEXT:
                self._input_began = entry.began
            if "(bucket" not in entry.text:
                kind = INPUT if entry.text == INPUT_TEXT else WAITING
                self._note(Span(CALLS, entry.text, entry.began, entry.ended, kind))
                return
            bucket = entry.text.partition("(")[2].partition(")")[0]
            self._note(Span(bucket, entry.text, entry.began, entry.ended, MESSAGE))
            if entry.waits:
                self._note(Span(CALLS, f"{SUM_OF}{bucket}", entry.waits, entry.ended, WAITING))

        ledger.on_end = ended

    def _track(self) -> str:
        """Return the track of this thread: those of virtual shards take turns, so their spans cross each other."""
        return self._threads.setdefault(get_ident(), f"{COMPUTING}, thread {len(self._threads) + 1}")

    def _note(self, span: Span) -> None:
        if len(self.spans) < MOST:
            self.spans.append(span)

    def save(self, world: World, path: Path) -> None:
        """Write the spans of all ranks, on rank 0's clock; all ranks call it together."""
        from ...comm.measure.trace import clock_offset

        spans = self.spans.copy()
        offset, _ = clock_offset(world)
        everything = world.all_gather((offset, spans))
        with world.together():
            if world.rank == 0:
                write_atomically(path, to_json(trace_events(everything)))

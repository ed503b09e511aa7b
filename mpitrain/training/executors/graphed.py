"""Forward and backward of a batch as CUDA graphs: one call starts all of their launches.

A small model is launch-bound: its kernels end sooner than Python can ask for the next. What a step asks for is the same
each time but for the contents of the batch, the weights and the step's number; so it is captured once for each place in
memory that holds batches, and launched from then on. All work of the host in a step stays with the host: messages,
the sums that it reads, and the update, whose learning rate and scale it has decided (one launch).

A graph means memory as it lay when it was captured. It is thrown away as soon as the device was asked for more memory.
Before it is used, its gradients are compared with those of the very step that it repeats, to the bit.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...arena import Arena, Parameter
from ...context import Context
from ...data.loader import Batch
from ...device import Graph
from ...layers import Layer, MixtureOfExperts
from ...layers.base import summing_layers
from ...parallel.buckets import Bucket
from .eager import EagerExecutor, forward_backward

Work = Callable[[], None]
Key = tuple[int, int, int, tuple[int, ...]]


@dataclass(frozen=True)
class Recording:
    """One microbatch: graphs, and after each the parameters whose gradients are complete.

    Attributes
    ----------
    parts : list of (Graph, list of Parameter)
    writes : list of int
        Number of writes of each gradient in the step up to its end.
    allocations : int
        Number of allocations of the device at the time of capture.
    """

    parts: list[tuple[Graph, list[Parameter]]]
    writes: list[int]
    allocations: int


class GraphedExecutor:
    """Executor of steps by CUDA graphs, each captured once for every batch address.

    Parameters
    ----------
    eager : EagerExecutor
        Computes what is captured, and whatever has no graph.
    graphs : StepGraphs
    """

    def __init__(self, eager: EagerExecutor, graphs: "StepGraphs"):
        self._eager, self.graphs = eager, graphs

    def num_passes(self, batches: Sequence[Batch]) -> int:
        """Return the number of backward passes: one for each microbatch."""
        return self._eager.num_passes(batches)

    def run(self, batches: Sequence[Batch], step: int) -> None:
        """Compute the gradients of all microbatches."""
        eager = self._eager
        for place, batch in enumerate(batches):
            eager.ctx.step, eager.ctx.first = step, batch.first  # a graph reads them without a call of Python
            add = eager.arena.add_totals
            self.graphs.run(
                place, batch, partial(forward_backward, eager.model, eager.loss, batch, step, eager.ctx, add)
            )


def reason_against_graphs(model: Layer) -> str:
    """Return the reason why a step cannot be a CUDA graph; empty if it can."""
    if any(isinstance(layer, MixtureOfExperts) for layer in model.layers()):
        return "in the middle of it tokens are counted, to be sent to their experts"
    if any(layer.sum_over_ranks is not None for layer in summing_layers(model)):
        return "in the middle of it ranks sum statistics (--batch-norm local needs none)"
    return ""


class StepGraphs:
    """Runner of microbatches: as graphs if they are full and recur, otherwise eagerly.

    Parameters
    ----------
    arena : Arena
        On a device that captures.
    ctx : Context
        Context of the microbatches.
    microbatches : int
        Number of microbatches per step.
    buckets : sequence of Bucket
        A graph ends where the gradients of one are complete, so that messages can start; none without other ranks.
    note : callable(str)
        Told why there are no graphs, if it comes to that.

    Attributes
    ----------
    launched : int
        Microbatches that were run by graphs.
    """

    def __init__(
        self, arena: Arena, ctx: Context, microbatches: int, buckets: Sequence[Bucket], note: Callable[[str], None]
    ):
        self._arena, self._ctx, self._note = arena, ctx, note
        self._device = arena.device
        self._sizes = [b.num_parameters for b in buckets]
        self._bucket_of = [number for number, size in enumerate(self._sizes) for _ in range(size)]
        self._counters = self._device.zeros((microbatches, 2), np.int64)
        self._written = self._device.pinned_empty((microbatches, 2), np.int64)
        self._recordings: dict[Key, Recording] = {}
        self._seen: set[Key] = set()
        self._longest: dict[int, int] = {}
        self.launched = 0
        self._gave_up = False

    def run(self, place: int, batch: Batch, work: Work) -> None:
        """Do ``work``, forward and backward of ``batch``, which is microbatch ``place`` of its step."""
        x, y = batch.x, batch.y
        key = place, x.data.ptr, y.data.ptr, x.shape  # type: ignore[attr-defined]
        longest = self._longest[place] = max(self._longest.get(place, 1), len(batch))
        recording = self._recordings.get(key)
        if recording is not None and recording.allocations != self._device.allocations:
            self._recordings.clear()
            recording = None
        if recording is None and (self._gave_up or key not in self._seen or len(batch) < longest):
            self._seen.add(key)
            work()
            return
        self._written[place] = self._ctx.step, self._ctx.first
        if recording is not None:
            self._launch(recording)
            return
        made = self._record(place, work)
        if made is None:
            work()
        else:
            self._recordings[key] = made
            for _, complete in made.parts:
                self._report(complete)

    def forget(self) -> None:
        """Forget all graphs, and how long batches were: from now on they have other lengths."""
        self._recordings.clear()
        self._seen.clear()
        self._longest.clear()

    def _launch(self, recording: Recording) -> None:
        for graph, complete in recording.parts:
            graph.launch()
            self._report(complete)
        self._arena.writes = recording.writes
        self.launched += 1

    def _report(self, complete: list[Parameter]) -> None:
        if self._arena.on_ready is not None:
            for p in complete:
                self._arena.on_ready(p)

    def _record(self, place: int, work: Work) -> Recording | None:
        """Return the work as graphs, run once; None, without a run, if graphs give other results."""
        arena = self._arena
        on_ready, arena.on_ready = arena.on_ready, None
        before = arena.gradients.copy(), arena.states.copy(), arena.writes
        try:
            work()  # it takes the memory and builds the kernels that it needs
            expected = self._results()
            self._restore(before)
            parts = self._capture(place, work)
            for graph, _ in parts:
                graph.launch()
            if self._results() == expected:
                return Recording(parts, arena.writes, self._device.allocations)
            reason = "it computes something else"
        except RuntimeError as error:  # as CUDA's errors are
            reason = str(error)
        finally:
            arena.on_ready = on_ready
        self._gave_up = True
        self._note(f"no CUDA graph of the step: {reason}")
        self._restore(before)
        return None

    def _capture(self, place: int, work: Work) -> list[tuple[Graph, list[Parameter]]]:
        device, missing = self._device, list(self._sizes)
        parts: list[tuple[Graph, list[Parameter]]] = []
        complete: list[Parameter] = []

        def ready(p: Parameter) -> None:
            nonlocal complete
            complete.append(p)
            if missing:
                bucket = self._bucket_of[p.index]
                missing[bucket] -= 1
                if not missing[bucket]:
                    parts.append((device.end_capture(), complete))
                    complete = []
                    device.begin_capture()

        self._arena.on_ready, self._ctx.counters = ready, self._counters[place]
        device.begin_capture()
        try:
            device.compute.copy(self._counters[place], self._written[place])
            work()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                device.end_capture()
            raise
        finally:
            self._arena.on_ready = self._ctx.counters = None
        parts.append((device.end_capture(), complete))
        return parts

    def _results(self) -> tuple[bytes, bytes]:
        arena = self._arena
        return self._device.to_host(arena.gradients).tobytes(), self._device.to_host(arena.states).tobytes()

    def _restore(self, before: tuple[np.ndarray, np.ndarray, list[int]]) -> None:
        gradients, states, self._arena.writes = before
        self._arena.gradients[...], self._arena.states[...] = gradients, states

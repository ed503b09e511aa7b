"""Rounds of a plan: steps with their persistent requests, and the copies and reductions around them."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from ...collectives import Algorithm, Chunks, Step, as_chunks
from ...collectives.layout import Counts, Layout
from .segments import Cut, Span
from .staging import Staging

Call = Callable[[], object]
Put = Callable[..., object]  # (target, arrived)
FEW = 2


class Memory:
    """Buffers that are cut into the chunks of an algorithm: the caller's, and one or two more where it needs them.

    Attributes
    ----------
    buffers : list of array
    result : array
        The buffer with the result.
    """

    def __init__(self, algorithm: Algorithm, size: int, buffer: Any, counts: Counts | None = None):
        self._layout, self._keeps_own = Layout(algorithm, size, buffer.size, counts), algorithm.goal.keeps_own
        self.buffers = [buffer, *(np.empty_like(buffer, shape=(n,)) for n in self._layout.sizes[1:])]
        self.result = self.buffers[min(1, len(self.buffers) - 1)]

    def own(self, rank: int) -> list[tuple[Any, Any]]:
        """Return the copies (target, source) at the start of a plan: what a rank has for itself."""
        if not self._keeps_own:
            return []
        source, target = self._layout.own(rank)
        return [(self.result[target], self.buffers[0][source])]

    def spans(self, chunks: Chunks) -> list[Span]:
        """Return the elements of ``chunks`` in order, one span for each contiguous part that is not empty."""
        return [Span(number, bounds.start, bounds.stop) for number, bounds in self._layout.spans(chunks)]

    def view(self, span: Span) -> Any:
        """Return the elements of a span."""
        return self.buffers[span.buffer][span.start : span.stop]

    def views(self, chunks: Chunks) -> list[Any]:
        """Return the elements of ``chunks`` in order."""
        return [self.view(span) for span in self.spans(chunks)]


class Scratch:
    """Memory for the messages of several plans on the host, of which one is in flight at a time.

    Parameters
    ----------
    num_elements : int
        The most that one message has.
    """

    def __init__(self, num_elements: int, dtype: Any):
        self._arrays = [np.empty(num_elements, dtype) for _ in range(3)]  # pages that no message uses are never there

    def memories(self) -> Callable[[int, Any], Any]:
        """Return a function (num_elements, like) -> array for the buffers of one plan."""
        arrays = iter(self._arrays)
        return lambda num_elements, like: next(arrays)[:num_elements]


class RoundContext:
    """State that all rounds of a plan share.

    Parameters
    ----------
    comm : MPI.Comm
    memory : Memory
    steps : list of Step
    combine : callable(target, arrived)
    staging : Staging
    tag : int
    cut : Cut
        Limits by which messages are cut into segments.
    even_if_empty : bool
        Send messages without bytes, as a barrier does.
    scratch : Scratch, optional
        Memory for messages, in place of that of ``staging``.
    """

    def __init__(
        self,
        comm: Any,
        memory: Memory,
        steps: list[Step],
        combine: Put,
        staging: Staging,
        tag: int,
        cut: Cut,
        *,
        even_if_empty: bool,
        scratch: "Scratch | None" = None,
    ) -> None:
        self.comm, self.memory, self.combine, self.staging, self.tag = comm, memory, combine, staging, tag
        self._cut, self._even_if_empty = cut, even_if_empty
        like = memory.buffers[0]
        outgoing = landing = 0
        for step in steps:
            sources, targets = memory.views(step.send), memory.views(step.recv)
            outgoing = max(outgoing, 0 if self.leaves_directly(sources) else _total(sources))
            landing = max(landing, 0 if self.lands_directly(step, targets) else _total(targets))
        lend = staging.memory if scratch is None else scratch.memories()
        self.outgoing = lend(outgoing, like)
        # two, since one may still be read while the other is written
        self.landings = [lend(landing, like) for _ in range(2)]

    def leaves_directly(self, sources: Sequence[Any]) -> bool:
        """Return whether the elements can be sent in place."""
        return len(sources) == 1

    def lands_directly(self, step: Step, targets: Sequence[Any]) -> bool:
        """Return whether the elements can be received in place."""
        return not step.reduce and len(targets) == 1

    def segments(self, array: Any) -> list[Any]:
        """Return ``array`` as messages of bytes, since MPI may not know its dtype; none if it is empty."""
        if not array.size:
            return [array.view(np.uint8)] if self._even_if_empty else []
        return [segment.view(np.uint8) for segment in cut_segments(array, self._cut.elements(array.size))]


class Round:
    """One step with its requests and the calls around them.

    Attributes
    ----------
    requests : list of MPI.Prequest
    copies : list of callables
        Copies of elements that cannot be sent in place.
    starts : list of callables
        Start the messages.
    tests : list of callables
        The messages are complete when all return True.
    finishes : list of callables
        Copies and reductions of received elements.
    early : bool
        The round can start before the previous one has finished.
    pending, touched : set of int
        Chunks that ``finishes`` change; chunks that the messages read or write.
    """

    def __init__(self, context: RoundContext, step: Step, number: int):
        self.requests: list[Any] = []
        self.messages = self.bytes_sent = 0
        self.early = False
        self.pending: set[int] = set()
        self.touched = set(as_chunks(step.send))
        self.copies: list[Call] = []
        self.finishes: list[Call] = []
        if step.recv_from is not None:
            self._receive(context, step, context.landings[number % 2])
        if step.send_to is not None:
            self._send(context, step)
        self.starts, self.tests = calls_of(self.requests)

    def _receive(self, context: RoundContext, step: Step, landing: Any) -> None:
        targets = context.memory.views(step.recv)
        if context.lands_directly(step, targets):
            landed = targets[0]
            self.touched |= set(as_chunks(step.recv))
        else:
            landed = landing[: _total(targets)]
            put = context.combine if step.reduce else context.staging.copy_in
            for target, part in zip(targets, _split(landed, targets), strict=True):
                self.finishes.append(ready_to(put, target, part))
            self.pending = set(as_chunks(step.recv))
        for segment in context.segments(landed):
            self.requests.append(context.comm.Recv_init([segment, MPI.BYTE], step.recv_from, context.tag))

    def _send(self, context: RoundContext, step: Step) -> None:
        sources = context.memory.views(step.send)
        if context.leaves_directly(sources):
            message = sources[0]
        else:
            message = context.outgoing[: _total(sources)]
            for part, source in zip(_split(message, sources), sources, strict=True):
                self.copies.append(functools.partial(context.staging.copy_out, part, source))
        for segment in context.segments(message):
            self.requests.append(context.comm.Send_init([segment, MPI.BYTE], step.send_to, context.tag))
            self.messages += 1
        self.bytes_sent = message.nbytes


def ready_to(put: Put, target: Any, arrived: Any) -> Call:
    """Return the call that puts ``arrived`` into ``target``; a ufunc is called without Python code around it."""
    if isinstance(put, np.ufunc):
        return functools.partial(put, target, arrived, out=target)
    return functools.partial(put, target, arrived)


def calls_of(requests: list[Any]) -> tuple[list[Call], list[Call]]:
    """Return calls that start ``requests`` and that test them; single calls are faster for a few requests."""
    if len(requests) <= FEW:
        return [r.Start for r in requests], [r.Test for r in requests]
    return [functools.partial(MPI.Prequest.Startall, requests)], [functools.partial(MPI.Request.Testall, requests)]


def _split(array: Any, like: Sequence[Any]) -> list[Any]:
    ends = itertools.accumulate((part.size for part in like), initial=0)
    return [array[a:b] for a, b in itertools.pairwise(ends)]


def _total(views: Sequence[Any]) -> int:
    return sum(view.size for view in views)


def cut_segments(array: Any, longest: int) -> list[Any]:
    """Return ``array`` in segments of at most ``longest`` elements each."""
    return [array[i : i + longest] for i in range(0, array.size, longest)]

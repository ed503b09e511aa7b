"""The rounds of a plan: steps made ready, with persistent requests and what to copy and reduce around them."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from ...collectives import Algorithm, Chunks, Step, as_chunks, chunk_bounds
from ...collectives.step import chunk_runs
from .segments import Cut, Span
from .staging import Staging

Call = Callable[[], object]
Put = Callable[..., object]  # (target, arrived)
FEW = 2


class Memory:
    """The buffers that the chunks of an algorithm are cut from: the caller's, and those of all_to_all beside it."""

    def __init__(self, algorithm: Algorithm, size: int, buffer: Any):
        if algorithm.buffers > 1 and buffer.size % size:
            raise ValueError(f"{algorithm.collective} of {buffer.size} elements over {size} ranks: must be a multiple")
        self.buffers = [buffer, *(np.empty_like(buffer) for _ in range(algorithm.buffers - 1))]
        self.chunks_each = algorithm.num_chunks(size) // algorithm.buffers

    def spans(self, chunks: Chunks) -> list[Span]:
        """Return what ``chunks`` cover, in their order, one span for each piece that is contiguous and not empty."""
        spans = []
        for run in chunk_runs(chunks):
            while run:
                number, first = divmod(run.start, self.chunks_each)
                stop = min(run.stop, (number + 1) * self.chunks_each)
                within = range(first, stop - number * self.chunks_each)
                bounds = chunk_bounds(self.buffers[number].size, self.chunks_each, within)
                if bounds.start < bounds.stop:
                    spans.append(Span(number, bounds.start, bounds.stop))
                run = range(stop, run.stop)
        return spans

    def view(self, span: Span) -> Any:
        """Return the elements of a span."""
        return self.buffers[span.buffer][span.start : span.stop]

    def views(self, chunks: Chunks) -> list[Any]:
        """Return the elements that ``chunks`` cover, in their order."""
        return [self.view(span) for span in self.spans(chunks)]


class Common:
    """What all rounds of a plan have in common.

    Parameters
    ----------
    comm : MPI.Comm
    memory : Memory
    steps : list of Step
    combine : callable(target, arrived)
    staging : Staging
    tag : int
    cut : Cut
        How messages are cut into pieces.
    even_if_empty : bool
        Messages of no bytes are sent (a barrier's are).
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
    ) -> None:
        self.comm, self.memory, self.combine, self.staging, self.tag = comm, memory, combine, staging, tag
        self._cut, self._even_if_empty = cut, even_if_empty
        like = memory.buffers[0]
        outgoing = landing = 0
        for step in steps:
            sources, targets = memory.views(step.send), memory.views(step.recv)
            outgoing = max(outgoing, 0 if self.leaves_directly(sources) else _total(sources))
            landing = max(landing, 0 if self.lands_directly(step, targets) else _total(targets))
        self.outgoing = staging.memory(outgoing, like)
        # twice: one may still be read while one is written
        self.landings = [staging.memory(landing, like) for _ in range(2)]

    def leaves_directly(self, sources: Sequence[Any]) -> bool:
        """Return True for what can be sent from where it is."""
        return len(sources) == 1

    def lands_directly(self, step: Step, targets: Sequence[Any]) -> bool:
        """Return True for what can be received where it belongs."""
        return not step.reduce and len(targets) == 1

    def pieces(self, array: Any) -> list[Any]:
        """Return ``array`` as messages of bytes (MPI need not know its dtype); none if it is empty."""
        if not array.size:
            return [array.view(np.uint8)] if self._even_if_empty else []
        return [piece.view(np.uint8) for piece in cut_pieces(array, self._cut.elements(array.size))]


class Round:
    """One step made ready: its requests, and the calls around them.

    Attributes
    ----------
    requests : list of MPI.Prequest
    copies : list of callables
        Copy what cannot be sent from where it is.
    starts : list of callables
        Start the messages.
    tests : list of callables
        When all say True, the messages are through.
    finishes : list of callables
        Copy and reduce what has landed.
    early : bool
        It can start before the round before it has finished.
    pending, touched : set of int
        Chunks that ``finishes`` still change; chunks that its messages read or write themselves.
    """

    def __init__(self, common: Common, step: Step, number: int):
        self.requests: list[Any] = []
        self.messages = self.bytes_sent = 0
        self.early = False
        self.pending: set[int] = set()
        self.touched = set(as_chunks(step.send))
        self.copies: list[Call] = []
        self.finishes: list[Call] = []
        if step.recv_from is not None:
            self._receive(common, step, common.landings[number % 2])
        if step.send_to is not None:
            self._send(common, step)
        self.starts, self.tests = calls_of(self.requests)

    def _receive(self, common: Common, step: Step, landing: Any) -> None:
        targets = common.memory.views(step.recv)
        if common.lands_directly(step, targets):
            landed = targets[0]
            self.touched |= set(as_chunks(step.recv))
        else:
            landed = landing[: _total(targets)]
            put = common.combine if step.reduce else common.staging.copy_in
            for target, part in zip(targets, _split(landed, targets), strict=True):
                self.finishes.append(ready_to(put, target, part))
            self.pending = set(as_chunks(step.recv))
        for piece in common.pieces(landed):
            self.requests.append(common.comm.Recv_init([piece, MPI.BYTE], step.recv_from, common.tag))

    def _send(self, common: Common, step: Step) -> None:
        sources = common.memory.views(step.send)
        if common.leaves_directly(sources):
            message = sources[0]
        else:
            message = common.outgoing[: _total(sources)]
            for part, source in zip(_split(message, sources), sources, strict=True):
                self.copies.append(functools.partial(common.staging.copy_out, part, source))
        for piece in common.pieces(message):
            self.requests.append(common.comm.Send_init([piece, MPI.BYTE], step.send_to, common.tag))
            self.messages += 1
        self.bytes_sent = message.nbytes


def own_chunk(comm: Any, buffer: Any, result: Any) -> list[tuple[Any, Any]]:
    """Return what is to be copied, (target, source), before a plan whose result is not ``buffer`` itself."""
    own = chunk_bounds(buffer.size, comm.size, comm.rank)
    return [] if result is buffer else [(result[own], buffer[own])]


def ready_to(put: Put, target: Any, arrived: Any) -> Call:
    """Return the call that puts ``arrived`` into ``target``; a ufunc is called without Python between."""
    if isinstance(put, np.ufunc):
        return functools.partial(put, target, arrived, out=target)
    return functools.partial(put, target, arrived)


def calls_of(requests: list[Any]) -> tuple[list[Call], list[Call]]:
    """Return what starts ``requests`` and what tests them; for a few, a call each costs less than one with a list."""
    if len(requests) <= FEW:
        return [r.Start for r in requests], [r.Test for r in requests]
    return [functools.partial(MPI.Prequest.Startall, requests)], [functools.partial(MPI.Request.Testall, requests)]


def _split(array: Any, like: Sequence[Any]) -> list[Any]:
    ends = itertools.accumulate((part.size for part in like), initial=0)
    return [array[a:b] for a, b in itertools.pairwise(ends)]


def _total(views: Sequence[Any]) -> int:
    return sum(view.size for view in views)


def cut_pieces(array: Any, longest: int) -> list[Any]:
    """Return ``array`` in pieces of at most ``longest`` elements."""
    return [array[i : i + longest] for i in range(0, array.size, longest)]

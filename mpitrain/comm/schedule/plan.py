"""Plans: schedules bound to MPI and to the caller's buffer, which copy reduced elements only.

A plan is made once for a buffer and can be started any number of times. Views, receive buffers and persistent requests
are made in advance, so that a round costs two starts, their tests and one addition. The addition of a round runs while
the messages of the next one are in flight, if the two use different chunks.
"""

import functools
import itertools
import os
from typing import Any, Protocol

from mpi4py import MPI

from ...collectives import OPERATORS, Algorithm, Schedule, make_algorithm
from ...collectives.layout import Counts
from ...collectives.operators import check_operator
from .rounds import Call, Memory, Round, RoundContext, Scratch
from .segments import Cut
from .staging import HOST, Staging

SPINS = 50  # polls before a wait inside MPI, which releases the interpreter lock
MAX_MESSAGE_BYTES = 1 << 30  # a longer message is sent in segments: some MPI libraries count bytes in an int


class Request(Protocol):
    """Protocol of requests: ``start()``, then ``poll()`` until it returns True, or ``wait()``."""

    algorithm: str
    messages: int
    bytes_sent: int
    result: Any

    def start(self) -> None:
        """Start it (again)."""

    def poll(self) -> bool:
        """Progress without waiting; True when all is done."""

    def wait(self) -> None:
        """Wait until it is done."""

    def free(self) -> None:
        """Release its resources."""


class Plan:
    """A schedule bound to a communicator and a buffer.

    Parameters
    ----------
    comm : MPI.Comm
        Communicator without other messages.
    algorithm : Algorithm or Schedule
    buffer : (n,) contiguous array
        Changed in place; not to be touched between ``start`` and the end. For all_to_all, n is a multiple of P; for
        a barrier, n is 0.
    op : str
        sum, max or min.
    counts : Counts, optional
        Lengths of the chunks, if they are not nearly equal (see ``Layout``).
    tag : int
        Distinguishes the plans that are in flight together.
    staging : Staging
        Access to the buffer if it is not a NumPy array.
    yield_cpu : bool
        Yield the core while waiting, where ranks outnumber cores.
    scratch : Scratch, optional
        Memory for messages that other plans use too, of which none is in flight at the same time.
    segmented : bool
        Cut messages into segments, since some rank copies them to and from a device (``segments.py``).

    Attributes
    ----------
    result : (n,) array
        ``buffer``, except for all_to_all and halo_exchange, which do not work in place.
    tag : int
    """

    def __init__(
        self,
        comm: Any,
        algorithm: Algorithm | Schedule,
        buffer: Any,
        *,
        op: str = "sum",
        counts: Counts | None = None,
        tag: int = 0,
        staging: Staging = HOST,
        yield_cpu: bool = False,
        segmented: bool = False,
        scratch: Scratch | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        algorithm = make_algorithm(algorithm)
        check_operator(op)
        self.algorithm, self.tag = algorithm.name, tag
        self._yield_cpu = yield_cpu
        self._staging = staging = staging.lane()
        steps = list(algorithm(comm.rank, comm.size))
        memory = Memory(algorithm, comm.size, buffer, counts)
        self.result, self._own = memory.result, memory.own(comm.rank)
        cut = Cut(buffer.itemsize, max_message_bytes, whole=not segmented)
        is_barrier = algorithm.collective == "barrier"
        context = RoundContext(
            comm,
            memory,
            steps,
            staging.combines_by(OPERATORS[op]),
            staging,
            tag,
            cut,
            even_if_empty=is_barrier,
            scratch=scratch,
        )
        self._rounds: list[Round] = []
        for step in steps:
            made = Round(context, step, len(self._rounds))
            if made.requests:
                self._rounds.append(made)
        for before, after in zip(self._rounds, self._rounds[1:]):
            after.early = not before.pending & after.touched
        self.arrange()
        self._at = len(self._moves)
        self.messages = sum(r.messages for r in self._rounds)
        self.bytes_sent = sum(r.bytes_sent for r in self._rounds)

    def arrange(self) -> None:
        """List tests and calls round by round, so that nothing is decided while messages are in flight."""
        self._moves: list[tuple[list[Call], list[Call]]] = []
        self._waits: list[Call] = []  # calls while a test returns False
        staging = self._staging
        for round_, after in itertools.zip_longest(self._rounds, self._rounds[1:]):
            begins: list[Call] = []
            if staging.queued:
                self._moves.append(([staging.reached], list(round_.starts)))
                self._waits.append(staging.reach)
                begins = [*after.copies, staging.mark] if after else [staging.end]
            elif after:
                begins = [*after.copies, *after.starts]
            calls = [*begins, *round_.finishes] if after and after.early else [*round_.finishes, *begins]
            self._moves.append((round_.tests, calls))
            self._waits.append(functools.partial(MPI.Request.Waitall, round_.requests))

    def start(self) -> None:
        """Start the first round."""
        if self._at < len(self._moves):
            raise RuntimeError("a plan was started while it is still in flight")
        for target, source in self._own:
            target[...] = source
        self._at = 0
        if self._rounds:
            first = self._rounds[0]
            self._staging.begin()
            for call in (*first.copies, *([self._staging.mark] if self._staging.queued else first.starts)):
                call()

    def poll(self) -> bool:
        """Advance through completed rounds without waiting; True when the last one is complete."""
        moves, at = self._moves, self._at
        while at < len(moves):
            tests, calls = moves[at]
            for test in tests:
                if not test():
                    return False
            self._at = at = at + 1
            for call in calls:
                call()
        return True

    def wait(self) -> None:
        """Wait for the remaining rounds."""
        if self._yield_cpu:
            while not self.poll():
                os.sched_yield()
            return
        while not any(self.poll() for _ in range(SPINS)):
            self._waits[self._at]()

    def free(self) -> None:
        """Free the requests (not after an error, when freeing can hang)."""
        for round_ in self._rounds:
            for request in round_.requests:
                request.Free()
        self._rounds, self._moves, self._waits = [], [], []
        self._at = 0

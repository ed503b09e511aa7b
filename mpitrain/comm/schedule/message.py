"""Messages between two ranks, in pieces.

Both ends cut a message in the same way (``segments.py``), since both know its length. If they do not agree on it, a
receive must not be left to MPI: Open MPI 5.0 writes beyond an array that is too short. So a header with the length goes
before a message that is not as long as the last one with the same peer and tag, and its pieces are received when the
header has come. From then on receives are posted early, but one at a time for each peer and tag. Whatever the other
end sends instead, no receive is too short for it:

    sent                          expected: as long as the last           expected: another length, with a header
    as long as the last           right                                   comes into the header's memory, which has room
    another length, a header      the header comes into the array         the header tells
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from mpi4py import MPI

from ...errors import UserError
from .rounds import Call
from .segments import Cut

HEADER_BYTES = 5  # a message of no more bytes always has a header, so that five bytes are one, and fit everywhere


class Way:
    """Messages of one direction between this rank and a peer with one tag, which come in the order of the calls.

    Parameters
    ----------
    outgoing : bool
    peer, tag : int

    Attributes
    ----------
    last : int
        Bytes of the last message, -1 before the first one.
    queue : deque of Message
        Sends that are not posted, or receives that are not over.
    """

    __slots__ = ("last", "outgoing", "peer", "queue", "tag")

    def __init__(self, outgoing: bool, peer: int, tag: int) -> None:
        self.outgoing, self.peer, self.tag = outgoing, peer, tag
        self.last, self.queue = -1, deque[Message]()

    def header(self, num_bytes: int, cut: Cut) -> tuple[list[np.ndarray], int]:
        """Return the header of the next message, in a list that may be empty, and the length of the last one."""
        last, self.last = self.last, num_bytes
        if num_bytes == last > HEADER_BYTES:
            return [], last
        if self.outgoing:
            return [np.frombuffer(num_bytes.to_bytes(HEADER_BYTES, "little"), np.uint8)], last
        return [np.empty(max(HEADER_BYTES, pieces_of(last, cut)[0].stop), np.uint8)], last


class Turn(NamedTuple):
    """The next message of this rank in an order of the messages of all ranks.

    Attributes
    ----------
    outgoing : bool
    peer, tag : int
    num_bytes : int
    label : str
        As at the receiver: "activation of microbatch 3 from stage 1".
    """

    outgoing: bool
    peer: int
    tag: int
    num_bytes: int
    label: str


class Owner(Protocol):
    """Channel to which messages belong: it posts and tests them in order.

    Attributes
    ----------
    comm : MPI.Comm
    cut : Cut
    status : MPI.Status
    """

    comm: Any
    cut: Cut
    status: Any

    def advance(self, message: "Message") -> bool:
        """Progress without waiting; True when ``message`` is over."""

    def wait_for(self, message: "Message") -> None:
        """Wait until ``message`` is over."""

    def forget(self, message: "Message") -> None:
        """Do not progress ``message`` any more unless it is asked for."""

    def name_of(self, message: "Message") -> str:
        """Return the name of ``message`` with its other end."""


class Message(ABC):
    """Message of this rank to or from another one: ``done()`` tests it, ``wait()`` waits for it.

    Parameters
    ----------
    owner : Owner
    way : Way
    label : str
    pieces : sequence of arrays
        Memory that MPI reads or writes, the header's included.
    events : sequence of Event, optional
        Points in the work of a device after which it may do so, for each piece.
    finish : callable, optional
        Called once when all pieces are complete.

    Attributes
    ----------
    posted : bool
        All calls of MPI are made.
    over : bool
        The array may be used again.
    """

    __slots__ = (
        *("_complete", "_events", "_failure", "_finish", "_owner", "_pieces", "_requests"),
        *("label", "over", "posted", "way"),
    )

    def __init__(
        self,
        owner: Owner,
        way: Way,
        label: str,
        pieces: Sequence[Any],
        events: Sequence[Any] | None = None,
        finish: Call | None = None,
    ) -> None:
        self._owner, self.way, self.label = owner, way, label
        self._pieces, self._events, self._finish = pieces, events, finish
        self._requests: list[Any] = []
        self._complete = 0
        self._failure = ""
        self.posted = self.over = False

    def done(self) -> bool:
        """Progress without waiting; True when the message is over."""
        return self.over or self._owner.advance(self)

    def wait(self) -> None:
        """Wait until the message is over.

        An array of the host can then be used again. Work that is queued on a device from then on finds what has been
        received, and may overwrite what has been sent.
        """
        if not self.over and not self._owner.advance(self):
            self._owner.wait_for(self)

    @abstractmethod
    def post(self) -> bool:
        """Make the calls of MPI that can be made now; True when all are made."""

    def move(self) -> bool:
        """Test the pieces in order; True when all are complete."""
        if self._failure:
            raise UserError(self._failure)
        requests, status = self._requests, self._owner.status
        while self._complete < len(requests):
            if not requests[self._complete].Test(status):
                return False
            self._take()
        return self.over

    def rest(self) -> None:
        """Wait for the next piece inside MPI; all pieces are posted."""
        self._requests[self._complete].Wait(self._owner.status)
        self._take()

    def _may_use(self, number: int) -> bool:
        return self._events is None or bool(self._events[number].done())

    def _take(self) -> None:
        """Count a piece that is complete."""
        self._complete += 1
        if self._complete == len(self._pieces):
            self.over = True
            if self._finish is not None:
                self._finish()


class Send(Message):
    """Message to another rank."""

    __slots__ = ()

    def post(self) -> bool:
        """Send the pieces that may be read."""
        requests, send, way = self._requests, self._owner.comm.Isend, self.way
        for number in range(len(requests), len(self._pieces)):
            if not self._may_use(number):
                return False
            requests.append(send([self._pieces[number], MPI.BYTE], way.peer, way.tag))
        self.posted = True
        return True


class Receive(Message):
    """Message from another rank.

    Attributes
    ----------
    num_bytes : int
        Length of the array.
    last : int or None
        Length of the last message if a header comes before this one, None otherwise.
    lift : callable(int) or None
        Called with the number of each piece that has come, without the header.

    Raises
    ------
    UserError
        In ``done`` and ``wait``, if the message that comes has another length.
    """

    __slots__ = ("last", "lift", "num_bytes")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.num_bytes = 0
        self.last: int | None = None
        self.lift: Callable[[int], None] | None = None

    def post(self) -> bool:
        """Post the receive of the header, if there is one, and those of the other pieces when it has come."""
        requests, receive, way = self._requests, self._owner.comm.Irecv, self.way
        for number in range(len(requests), len(self._pieces)):
            header_to_come = self.last is not None and self._complete == 0
            if not self._may_use(number) or (number > 0 and header_to_come):
                return False
            requests.append(receive([self._pieces[number], MPI.BYTE], way.peer, way.tag))
        self.posted = True
        return True

    def _take(self) -> None:
        number, piece = self._complete, self._pieces[self._complete]
        count = self._owner.status.Get_count(MPI.BYTE)
        if number == 0 and self.last is not None:
            total = _length_in(piece) if count == HEADER_BYTES else self.last
            if total != self.num_bytes:
                self._refuse(f"{total:,} bytes, but {self.num_bytes:,}")
            super()._take()
            self.post()
            return
        if count != piece.nbytes:
            if count == HEADER_BYTES and isinstance(piece, np.ndarray):
                self._refuse(f"{_length_in(piece):,} bytes, but {self.num_bytes:,}")
            self._refuse(f"another number of bytes than the {self.num_bytes:,} that")
        if self.lift is not None:
            self.lift(number - (self.last is not None))
        super()._take()

    def _refuse(self, has: str) -> None:
        """Raise an error, now and whenever this message or one that follows it is asked for."""
        for message in self.way.queue:
            self._owner.forget(message)
        name = self._owner.name_of(self)
        self._failure = f"the {name} has {has} are expected here: both ends must give the same length"
        raise UserError(self._failure)


def _length_in(header: Any) -> int:
    """Return the length in a header that was received into an array of the host."""
    return int.from_bytes(header.reshape(-1).view(np.uint8)[:HEADER_BYTES].tobytes(), "little")


def pieces_of(num_bytes: int, cut: Cut) -> list[slice]:
    """Return the bytes of each piece; a message without bytes is a piece."""
    each = cut.elements(num_bytes) if num_bytes > 0 else 1
    return [slice(first, min(first + each, num_bytes)) for first in range(0, num_bytes, each)] or [slice(0, 0)]

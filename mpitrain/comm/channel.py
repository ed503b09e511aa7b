"""Point-to-point messages between the ranks of a group, such as activations between the stages of a pipeline."""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from mpi4py import MPI

from ..errors import UserError
from .group import Group
from .schedule.message import Message, Turn, Way
from .schedule.message_arrays import InPlace, Staged
from .schedule.plan import MAX_MESSAGE_BYTES
from .schedule.segments import Cut
from .schedule.staging import HOST, HostStaging, Staging

SWEEP = 64  # messages in flight from which all are tested now and then, also those that nothing waits for


class Channel:
    """Messages between two ranks of a group, on a communicator that carries nothing else.

    Receives are posted early, into arrays of their own, and matched by the peer and a tag; messages between two ranks
    with the same tag arrive in the order of the calls. Arrays are NumPy's, or of a device: those are staged through
    page-locked memory in pieces, or MPI reads and writes them in place where it is CUDA-aware. The ends may differ in
    that. A message that MPI has begun needs no further call; ``poll``, and ``done`` and ``wait`` of any message of the
    channel, move those of a device, and those whose length has changed since the last one with that peer and tag.

    A channel is used by one thread. It remembers every tag that it has seen: take the same ones in every step.

    Parameters
    ----------
    group : Group
        All of its ranks make the channel together, after ``use_staging`` if some have a device.

    Attributes
    ----------
    group : Group

    Examples
    --------
    >>> from mpi4py import MPI
    >>> channel = Channel(Group(MPI.COMM_SELF, "pipe"))
    >>> x = np.empty(3)
    >>> activation = channel.receive(x, peer=0, tag=7, label="activation of microbatch 3 from stage 0")
    >>> channel.send(np.ones(3), peer=0, tag=7, label="activation of microbatch 3 to stage 0").wait()
    >>> activation.wait()
    >>> x
    array([1., 1., 1.])
    """

    follows_order = False  # that of the messages given to ``begin``, which MPI does not need

    def __init__(self, group: Group) -> None:
        self.group = group
        self._own, self.status = group._comm.Dup(), MPI.Status()
        self.comm = MPI.Intracomm(self._own)  # whose calls the ledger does not record
        self.cut = Cut(1, MAX_MESSAGE_BYTES, whole=group.direct_bytes == math.inf)
        self._most_tag = cast(int, MPI.COMM_WORLD.Get_attr(MPI.TAG_UB))  # others need not have the attribute
        self._ledger, self._size = group.job.ledger, group.size
        interruptible = self._ledger is not None and self._ledger.interruptible
        self._crowded = group.place.oversubscribed or interruptible  # then it polls, and does not wait inside MPI
        self._host = InPlace(self, HOST)
        self._staging = group.staging
        self._devices: dict[Staging, InPlace | Staged] = {}
        self._ways: dict[tuple[bool, int, int], Way] = {}
        self._in_flight: dict[Message, None] = {}
        self._unposted: dict[Message, None] = {}  # those that need this rank's hand before MPI can move them
        self._moved: dict[Message, None] = {}  # those of a device, which need it until they are over
        self._sweep_at = SWEEP
        group.job.channels.add(self)

    def __repr__(self) -> str:
        return f"Channel({self.group!r})"

    @property
    def is_idle(self) -> bool:
        """True if no message is in flight."""
        return not self._in_flight

    def begin(self, turns: Sequence[Turn]) -> None:
        """Begin a step with these messages of this rank, where the channel follows an order; all ranks call it."""

    def send(self, array: Any, peer: int, tag: int = 0, label: str = "") -> Message:
        """Begin to send ``array`` and return the message, which is over when the array may be changed.

        Parameters
        ----------
        array : contiguous array
            Of any shape, also without elements. Changes that are queued on a device before the call are sent.
        peer : int
            Rank in the group.
        tag : int
            At least 0, the same at both ends.
        label : str
            The message and its other end in words, for messages about ranks that wait: "activation of microbatch 3 to
            stage 2". The rank in the job is appended: "... to stage 2 (rank 5)".

        Raises
        ------
        UserError
            If there is no such peer or tag, or if the array is not contiguous.
        """
        access = self._access(array, peer, tag)
        message = access.send(array, self._way(True, peer, tag), label)
        self._begin(message, access)
        return message

    def receive(self, array: Any, peer: int, tag: int = 0, label: str = "") -> Message:
        """Begin to receive into ``array`` and return the message, which is over when the array holds it.

        Parameters
        ----------
        array : contiguous array
            Of as many bytes as are sent. It is not to be used before the message is over.
        peer, tag, label
            See ``send``: "activation of microbatch 3 from stage 1".

        Raises
        ------
        UserError
            If there is no such peer or tag, or if the array is not contiguous; in ``done``, ``wait`` and ``poll``, if
            the message has another length than the array.
        """
        access = self._access(array, peer, tag)
        message = access.receive(array, self._way(False, peer, tag), label)
        self._begin(message, access)
        return message

    def poll(self) -> None:
        """Progress all messages without waiting: for calls between layers, while a rank computes."""
        for message in (*self._unposted, *self._moved):
            self.advance(message)
        for message in tuple(self._in_flight):  # a test of one that is not over lets MPI progress all
            if not self.advance(message):
                break

    def catch_up(self) -> None:
        """Wait until all messages are over that were waited for, as MPI's are, but those of a device need not be."""

    def free(self) -> None:
        """Free the communicator; all ranks call it together, when no message is in flight."""
        self._own.Free()

    def advance(self, message: Message) -> bool:
        """Progress without waiting; True when ``message`` is over."""
        if not message.posted:
            self._post(message)
        over = message.over or message.move()
        if self._unposted and message.posted:
            self._unposted.pop(message, None)
        if over and message in self._in_flight:
            self.forget(message)
            if not message.way.outgoing:
                message.way.queue.popleft()
        return over

    def forget(self, message: Message) -> None:
        """Do not progress ``message`` any more unless it is asked for."""
        self._in_flight.pop(message, None)
        self._unposted.pop(message, None)
        self._moved.pop(message, None)

    def _post(self, message: Message) -> None:
        """Post ``message`` after those before it: sends when they are posted, receives when they are over."""
        queue = message.way.queue
        if message.way.outgoing:
            while queue and queue[0].post():
                queue.popleft()
        else:
            while queue[0] is not message and self.advance(queue[0]):
                pass
            if queue[0] is message:
                message.post()

    def wait_for(self, message: Message) -> None:
        """Wait until ``message`` is over, as a wait that the ledger records."""
        with self._recorded(message):
            self._wait(message)

    @contextlib.contextmanager
    def _recorded(self, message: Message) -> Iterator[None]:
        """Record a ``with`` block as a wait for ``message``."""
        if self._ledger is None:
            yield
            return
        how, peer = "to send the" if message.way.outgoing else "for the", self.group.world_ranks[message.way.peer]
        at = self._ledger.begin_message(f"{how} {self.name_of(message)}", peer)
        try:
            yield
        finally:
            self._ledger.end(at)

    def _wait(self, message: Message) -> None:
        while not self.advance(message):
            if self._crowded or self._unposted:
                self.poll()
                os.sched_yield()
            else:
                message.rest()

    def begin_task(self, kind: str, stage: int, microbatch: int) -> None:
        """Record what this rank computes, for reports on ranks that wait for it; see ``Ledger.begin_task``."""
        if self._ledger is not None:
            self._ledger.begin_task(kind, stage, microbatch)

    def name_of(self, message: Message) -> str:
        """Return the label of a message with the rank at its other end."""
        way = message.way
        if message.label:
            return f"{message.label} (rank {self.group.world_ranks[way.peer]})"
        return f"message with tag {way.tag} {'to' if way.outgoing else 'from'} {self.group.name_of(way.peer)}"

    def _way(self, outgoing: bool, peer: int, tag: int) -> Way:
        key = (outgoing, peer, tag)
        way = self._ways.get(key)
        if way is None:
            way = self._ways[key] = Way(*key)
        return way

    def _check(self, array: Any, peer: int, tag: int) -> None:
        if not 0 <= peer < self._size:
            axis = self.group.axis or "(unnamed)"
            raise UserError(f"there is no rank {peer} on axis {axis}, which has {self._size} ranks")
        if not 0 <= tag <= self._most_tag:
            raise UserError(f"the tag of a message is {tag}, but must be from 0 to {self._most_tag:,}")
        if not array.flags.c_contiguous:
            raise UserError(f"an array of shape {array.shape} is not contiguous: send or receive a contiguous copy")

    def _access(self, array: Any, peer: int, tag: int) -> InPlace | Staged:
        """Return the access of MPI to ``array``, or raise a UserError."""
        self._check(array, peer, tag)
        if isinstance(array, np.ndarray):
            return self._host
        if not self._staging.queued:
            raise UserError("the array is on a device: all ranks must call use_staging of the group before Channel")
        staging = self._staging.of_buffer(array.nbytes)
        if staging not in self._devices:
            self._devices[staging] = (
                Staged(self, staging) if isinstance(staging, HostStaging) else InPlace(self, staging)
            )
        return self._devices[staging]

    def _begin(self, message: Message, access: InPlace | Staged) -> None:
        if len(self._in_flight) >= self._sweep_at:
            for other in tuple(self._in_flight):
                self.advance(other)
            self._sweep_at = max(SWEEP, 2 * len(self._in_flight))
        self._in_flight[message] = None
        if access is not self._host:
            self._moved[message] = None
        queue = message.way.queue
        queue.append(message)
        if queue[0] is not message or not message.post():
            self._unposted[message] = None
        elif message.way.outgoing:
            queue.popleft()

"""Messages between the GPUs of a group by NCCL, in one order of all messages that its ranks compute from a schedule.

NCCL's calls have no tags, and one holds its stream until the other end's call has its turn. So a rank has one stream
for all of them, and calls in the order that ``begin`` is given, whatever the order in which arrays are given: a call is
made when all before it are. The host does not wait for a message. The computation waits for what it needs, by an event,
and a call waits for the event after the computation that its array needs.
"""

import time
import zlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from .channel import Channel
from .group import Group
from .ranks import Ranks
from .schedule.message import Message, Turn, Way
from .schedule.nccl import PAUSE, NcclGroup, check_gpus, make_group

BEHIND = 4  # messages for which the computation may wait before the host does: a rank that hangs is found out by them

Told = dict[int, list[tuple[int, int, int, str]]]
"""For each peer, the sender, tag, length and label of all messages with it, in their order."""


class NcclMessage(Message):
    """Message of a GPU's array; ``wait`` lets the computation that is queued from then on wait for it."""

    __slots__ = ("_after", "_nccl", "end")

    def __init__(self, owner: "NcclChannel", way: Way, label: str, array: Any, after: Any) -> None:
        super().__init__(owner, way, label, [array])
        self._nccl, self._after = owner.nccl, after
        self.end: Any = None

    @property
    def num_bytes(self) -> int:
        """Length of the array."""
        return int(self._pieces[0].nbytes)

    def post(self) -> bool:
        """Queue the call; one without bytes has none."""
        call = self._nccl.send if self.way.outgoing else self._nccl.receive
        if self.num_bytes > 0:
            self.end = call(self._pieces[0], self.way.peer, self._after)
        self.posted, self.over = True, self.num_bytes == 0
        return True

    def move(self) -> bool:
        """Ask for the event at its end."""
        self.over = self.over or bool(self.end.done())
        return self.over


class NcclChannel(Channel):
    """Messages by NCCL between ranks that have a GPU each, and by MPI where arrays are NumPy's.

    Parameters
    ----------
    group : Group
        All of its ranks make the channel together.
    nccl : NcclGroup
        Of the same ranks, used by nothing else.
    device : Device
    """

    follows_order = True

    def __init__(self, group: Group, nccl: NcclGroup, device: Any) -> None:
        super().__init__(group)
        self.nccl, self._device = nccl, device
        self._turns = deque[Turn]()
        self._awaited = deque[Message]()
        self._compared: Sequence[Turn] | None = None
        self._told: Told = {}
        self._digest = 0
        self._connected = set[tuple[bool, int]]()

    def begin(self, turns: Sequence[Turn]) -> None:
        """Begin a step with these messages of this rank, in their order.

        NCCL does not tell the length of a message, and a wrong one may hang. So all ranks compare the lengths of a step
        by MPI before its first call. To do so only where a length has changed would need an agreement on that.

        Raises
        ------
        UserError
            On all ranks, if two of them do not agree on their messages.
        """
        self._compare(turns)
        self._turns.clear()
        self._turns.extend(turns)

    def _compare(self, turns: Sequence[Turn]) -> None:
        if turns is not self._compared:
            self._compared, self._told = turns, self._tell(turns)
            # of two ranks that agree, one adds what the other subtracts
            signed = ((1 if self.group.rank < peer else -1, row) for peer, row in self._told.items())
            self._digest = sum(sign * zlib.crc32(repr(row).encode()) for sign, row in signed)
        if self.group.sum(np.array([self._digest]))[0] != 0:
            raise UserError(_difference(self.group.all_gather(self._told), self.group))

    def _tell(self, turns: Sequence[Turn]) -> Told:
        told: Told = {}
        for outgoing, peer, tag, num_bytes, label in turns:
            sender = self.group.rank if outgoing else peer
            told.setdefault(peer, []).append((sender, tag, num_bytes, label))
        return told

    def send(self, array: Any, peer: int, tag: int = 0, label: str = "") -> Message:
        """Give an array to send at its turn, after the computation so far."""
        if isinstance(array, np.ndarray):
            return super().send(array, peer, tag, label)
        return self._give(True, array, peer, tag, label)

    def receive(self, array: Any, peer: int, tag: int = 0, label: str = "") -> Message:
        """Give an array into which a message is received at its turn, after the computation so far."""
        if isinstance(array, np.ndarray):
            return super().receive(array, peer, tag, label)
        return self._give(False, array, peer, tag, label)

    def _give(self, outgoing: bool, array: Any, peer: int, tag: int, label: str) -> Message:
        self._check(array, peer, tag)
        message = NcclMessage(self, self._way(outgoing, peer, tag), label, array, self._device.compute.record())
        message.way.queue.append(message)
        self._call()
        return message

    def _call(self) -> None:
        """Make the calls whose turn has come, up to one whose array is not given yet."""
        while self._turns and (queue := self._way(*self._turns[0][:3]).queue):
            turn, message = self._turns.popleft(), queue.popleft()
            assert isinstance(message, NcclMessage), "arrays of one tag are all on the device, or none is"
            if message.num_bytes != turn.num_bytes:
                raise UserError(
                    f"the {self.name_of(message)} has {message.num_bytes:,} bytes, but {turn.num_bytes:,} were "
                    "told to its other end at the beginning of the step"
                )
            if turn[:2] in self._connected:
                message.post()
                continue
            self._connected.add(turn[:2])
            with self._recorded(message):  # NCCL may wait for the other end to connect
                message.post()

    def advance(self, message: Message) -> bool:
        """Return whether ``message`` is over, without waiting."""
        if not isinstance(message, NcclMessage):
            return super().advance(message)
        return message.posted and message.move()

    def wait_for(self, message: Message) -> None:
        """Let the computation wait for ``message``, and the host for one of long before."""
        if not isinstance(message, NcclMessage):
            super().wait_for(message)
            return
        if not message.posted:
            raise UserError(f"the {self.name_of(message)} is needed before its turn in the order of all messages")
        self._device.compute.wait_for(message.end)
        self._awaited.append(message)
        while self._awaited and (len(self._awaited) > BEHIND or self._awaited[0].done()):
            self._wait_on_host(self._awaited.popleft())

    def catch_up(self) -> None:
        """Wait until all messages are over for which the computation waits, as waits that the ledger records."""
        while self._awaited:
            self._wait_on_host(self._awaited.popleft())

    def _wait_on_host(self, message: Message) -> None:
        if not message.done():
            super().wait_for(message)

    def _wait(self, message: Message) -> None:
        if not isinstance(message, NcclMessage):
            super()._wait(message)
            return
        while not self.advance(message):  # a wait inside CUDA could not be watched
            time.sleep(PAUSE)

    def free(self) -> None:
        """Free both communicators; all ranks call it together, when no message is in flight."""
        self.nccl.free()
        super().free()


def _difference(told: Sequence[Told], group: Group) -> str:
    """Return a sentence on the first message on which two ranks do not agree."""
    pairs = ((rank, peer) for rank, rows in enumerate(told) for peer in rows)
    rank, peer = next((a, b) for a, b in pairs if told[a][b] != told[b].get(a))
    one, other = group.name_of(rank), group.name_of(peer)
    row, others = told[rank][peer], told[peer].get(rank, [])
    for mine, theirs in zip(row, others, strict=False):
        if mine[:2] != theirs[:2]:
            return (
                f"{one} and {other} follow different schedules: where the former has the {mine[3]}, the latter has the "
                f"{theirs[3]}"
            )
        if mine[2] != theirs[2]:
            (sender, _, sent, label), expected = (mine, theirs[2]) if mine[0] == rank else (theirs, mine[2])
            return (
                f"the {label} (rank {group.world_ranks[sender]}) has {sent:,} bytes, but {expected:,} are expected on "
                f"{other if sender == rank else one}: both ends must give the same length"
            )
    return f"{one} has {len(row)} messages with {other}, which has {len(others)} with it"


def check_nccl(everyone: Ranks, device: Any, option: str) -> None:
    """Check that NCCL could join the GPUs of all ranks, of which ``device`` is this rank's; see ``check_gpus``."""
    check_gpus(everyone._comm, device, option)


def open_nccl_channel(everyone: Ranks, device: Any, group: Group) -> NcclChannel:
    """Return the channel of a group; ``everyone`` are the ranks that call this together, in groups.

    Raises
    ------
    AgreedError
        On all of them, if NCCL does not start on some.
    """
    return NcclChannel(group, make_group(group._comm, device, everyone._comm), device)

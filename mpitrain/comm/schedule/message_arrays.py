"""Access of messages between two ranks to arrays of the host or of a device.

in place    MPI reads or writes the array: NumPy arrays, and arrays of a GPU with a CUDA-aware MPI as soon as the
            computation queued before is done
staged      pieces are copied down into page-locked memory and sent, or received there and copied up
"""

import functools
from collections import deque
from typing import Any

import numpy as np

from .message import Owner, Receive, Send, Way, pieces_of
from .staging import HostStaging, Staging


class InPlace:
    """Messages that MPI reads and writes in the array itself.

    Parameters
    ----------
    owner : Owner
    staging : Staging
    """

    def __init__(self, owner: Owner, staging: Staging):
        self._owner, self._staging = owner, staging
        self._short = owner.cut.most_bytes if owner.cut.whole else -1  # bytes up to which there is one piece

    def send(self, array: Any, way: Way, label: str) -> Send:
        """Return a message that sends ``array``."""
        header, _ = way.header(array.nbytes, self._owner.cut)
        pieces = header + self._pieces(array)
        return Send(self._owner, way, label, pieces, self._events(pieces))

    def receive(self, array: Any, way: Way, label: str) -> Receive:
        """Return a message that is received into ``array``."""
        header, last = way.header(array.nbytes, self._owner.cut)
        pieces = header + self._pieces(array)
        message = Receive(self._owner, way, label, pieces, self._events(pieces))
        message.num_bytes = array.nbytes
        message.last = last if header else None
        return message

    def _events(self, pieces: list[Any]) -> list[Any] | None:
        return [self._staging.computed()] * len(pieces) if self._staging.queued else None

    def _pieces(self, array: Any) -> list[Any]:
        if array.nbytes <= self._short:
            return [array]
        raw = array.reshape(-1).view(np.uint8)
        return [raw[part] for part in pieces_of(array.nbytes, self._owner.cut)]


class Staged:
    """Messages of a device's arrays through page-locked memory of the host, which is used again.

    Parameters
    ----------
    owner : Owner
    staging : HostStaging
    """

    def __init__(self, owner: Owner, staging: HostStaging):
        self._owner, self._lane = owner, staging.lane()
        self._free: dict[int, deque[tuple[np.ndarray, Any]]] = {}

    def send(self, array: Any, way: Way, label: str) -> Send:
        """Return a message that sends ``array``; all copies are queued now, after the computation so far."""
        header, _ = way.header(array.nbytes, self._owner.cut)
        memory, parts = self._memory(array.nbytes)
        flat, lane, events = array.reshape(-1), self._lane, []
        lane.wait_down(lane.computed())
        for part in parts:
            if part.start < part.stop:
                lane.copy_out(memory[part].view(array.dtype), flat[_elements(part, array.itemsize)])
            events.append(lane.copied())
        pieces, events = header + [memory[part] for part in parts], events[: len(header)] + events
        return Send(self._owner, way, label, pieces, events, functools.partial(self._give_back, memory))

    def receive(self, array: Any, way: Way, label: str) -> Receive:
        """Return a message that is received into ``array``, after the computation so far."""
        header, last = way.header(array.nbytes, self._owner.cut)
        memory, parts = self._memory(array.nbytes)
        flat, lane, before = array.reshape(-1), self._lane, self._lane.computed()

        def lift(number: int) -> None:
            part = parts[number]
            if part.start < part.stop:
                lane.wait_up(before)
                lane.copy_in(flat[_elements(part, array.itemsize)], memory[part].view(array.dtype))

        def finish() -> None:
            self._give_back(memory, lane.added())
            lane.end()

        message = Receive(self._owner, way, label, header + [memory[part] for part in parts], None, finish)
        message.num_bytes, message.lift = array.nbytes, lift
        message.last = last if header else None
        return message

    def _memory(self, num_bytes: int) -> tuple[np.ndarray, list[slice]]:
        """Return page-locked memory for a message, and the bytes of each piece."""
        free = self._free.setdefault(_room(num_bytes), deque())
        if free and (free[0][1] is None or free[0][1].done()):
            memory = free.popleft()[0]
        else:
            memory = self._lane.device.pinned_empty((_room(num_bytes),), np.uint8)
        return memory, pieces_of(num_bytes, self._owner.cut)

    def _give_back(self, memory: np.ndarray, event: Any = None) -> None:
        self._free[memory.size].append((memory, event))


def _room(num_bytes: int) -> int:
    """Return a power of two, so that messages of similar lengths use the same memory."""
    return 1 << max(num_bytes - 1, 1).bit_length()


def _elements(part: slice, itemsize: int) -> slice:
    return slice(part.start // itemsize, part.stop // itemsize)

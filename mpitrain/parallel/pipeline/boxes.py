"""Messages of one stage of a pipeline: those that it takes are received ahead of their use."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...comm.channel import Channel
from ...comm.schedule.message import Message
from ...context import Context
from ...device import Device
from .stages import Border

AHEAD = 2  # messages that are received before they are used


class Item(NamedTuple):
    """An array (n, ...), the memory that it lies in, and the message that brings it, if there is one."""

    array: Any
    memory: Any
    message: Message | None


class Inbox:
    """Arrays for one kind of task of one stage, of one microbatch each.

    Parameters
    ----------
    channel : Channel
    device : Device
    peer : int
        The rank of the pipeline that sends; this one, if the neighbor's stage is here, too.
    border : Border
        Shape and dtype of the arrays.
    tag : callable(microbatch) -> int
    label : str
        Text with a place for the number of the microbatch: "activation of microbatch {} from stage 1".

    Attributes
    ----------
    waited : float
        Seconds for which this rank has waited for messages, in all.
    """

    def __init__(
        self,
        channel: Channel,
        device: Device,
        peer: int,
        border: Border,
        tag: Callable[[int], int],
        label: str,
    ):
        self._channel, self._device, self._peer, self._border = channel, device, peer, border
        self._tag, self._label = tag, label
        self._order: Sequence[int] = ()
        self._is_local = peer == channel.group.rank
        self._free: list[Any] = []
        self._items: dict[int, Item] = {}
        self._sizes: Sequence[int] = ()
        self._next = 0
        self.waited = 0.0

    def begin(self, order: Sequence[int], sizes: Sequence[int]) -> None:
        """Begin to receive microbatches, in the order of their use; microbatch m has ``sizes[m]`` samples."""
        self._order, self._sizes, self._next = order, sizes, 0
        self._receive()

    def put(self, microbatch: int, array: Any) -> None:
        """Take a copy of an array of this rank."""
        memory, mine = self._memory(len(array))
        self._device.compute.copy(mine, array)
        self._items[microbatch] = Item(mine, memory, None)

    def take(self, microbatch: int) -> Item:
        """Return the array of a microbatch once it is there; its memory is used again after ``release``."""
        item = self._items.pop(microbatch)
        if item.message is not None:
            if not item.message.done():
                begin = time.perf_counter()
                item.message.wait()
                self.waited += time.perf_counter() - begin
            self._receive()
        return item

    def release(self, item: Item) -> None:
        """Give the memory of an array back."""
        self._free.append(item.memory)

    def _receive(self) -> None:
        while not self._is_local and self._next < len(self._order) and len(self._items) < AHEAD:
            m = self._order[self._next]
            memory, array = self._memory(self._border.count(self._sizes[m]))
            message = self._channel.receive(array, self._peer, self._tag(m), self._label.format(m))
            self._items[m] = Item(array, memory, message)
            self._next += 1

    def _memory(self, num_samples: int) -> tuple[Any, Any]:
        """Return memory that is free, and an array of so many samples in it."""
        memory = self._free.pop() if self._free else None
        if memory is None or len(memory) < num_samples:
            memory = self._device.empty((num_samples, *self._border.shape), self._border.dtype)
        return memory, memory[:num_samples]


class Outbox:
    """Sends what one stage hands on to a neighbor on another rank.

    Parameters
    ----------
    channel, device, peer, border, tag, label
        As in ``Inbox``.
    """

    def __init__(
        self, channel: Channel, device: Device, peer: int, border: Border, tag: Callable[[int], int], label: str
    ):
        self._channel, self._device, self._peer, self._border = channel, device, peer, border
        self._tag, self._label = tag, label
        self._copies: list[tuple[Any, Message]] = []

    def send(self, microbatch: int, array: Any) -> Message:
        """Return a message, which is over when the array may be changed."""
        return self._channel.send(array, self._peer, self._tag(microbatch), self._label.format(microbatch))

    def send_copy(self, microbatch: int, array: Any) -> None:
        """Send a copy, so that the array may be changed at once."""
        memory = self._memory(len(array))
        copy = memory[: len(array)]
        self._device.compute.copy(copy, array)
        self._copies.append((memory, self.send(microbatch, copy)))

    def finish(self) -> None:
        """Wait until all copies are sent."""
        for _, message in self._copies:
            message.wait()

    def _memory(self, num_samples: int) -> Any:
        for place, (memory, message) in enumerate(self._copies):
            if len(memory) >= num_samples and message.done():
                del self._copies[place]
                return memory
        return self._device.empty((num_samples, *self._border.shape), self._border.dtype)


def contiguous(array: Any, owner: object, ctx: Context) -> Any:
    """Return an array, or a copy of it that MPI can send."""
    if array.flags.c_contiguous:
        return array
    copy = ctx.empty(owner, "sent", array.shape, array.dtype)
    copy[...] = array
    return copy

"""Prefetch of batches to a device: the next step's copy overlaps the computation of this one."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..context import Context
from ..data.loader import Batch, has_contents
from ..device import CPU, Device

Steps = Iterator[list[Batch]]


class DevicePrefetcher:
    """Prefetcher of a loader's batches to ``device``, one step ahead; on the CPU it copies nothing.

    The loader uses a batch's memory again when the next step is asked for, and a step's buffers on the device are used
    again two steps later. So the host waits for a copy before it asks for more and before the batch is used (it has
    long been done: a step was computed meanwhile), and the copies wait for the computation before.
    """

    def __init__(self, device: Device):
        self._device = device
        self._stream = device.stream()
        self._buffers = (Context(device=device), Context(device=device))

    def __call__(self, steps: Generator[list[Batch]]) -> Steps:
        """Yield the batches of ``steps`` on the device."""
        return steps if self._device is CPU else self._ahead(steps)

    def _ahead(self, steps: Generator[list[Batch]]) -> Steps:
        waiting: list[Batch] | None = None
        buffers = 0
        try:
            for batches in steps:
                sent = self._send(batches, self._buffers[buffers])
                arrived = self._stream.record()
                if waiting is not None:
                    yield waiting
                arrived.wait()
                waiting, buffers = sent, 1 - buffers
            if waiting is not None:
                yield waiting
        finally:
            steps.close()

    def _send(self, batches: list[Batch], buffers: Context) -> list[Batch]:
        self._stream.wait_for(self._device.compute.record())
        sent = []
        for place, batch in enumerate(batches):
            x = self._copy(batch.x, buffers, f"x {place}")
            y = self._copy(batch.y, buffers, f"y {place}")
            sent.append(replace(batch, x=x, y=y))
        return sent

    def _copy(self, array: np.ndarray, buffers: Context, name: str) -> Any:
        if not has_contents(array):
            return array
        copy = buffers.empty(self, name, array.shape, array.dtype)
        self._stream.copy(copy, array)
        return copy

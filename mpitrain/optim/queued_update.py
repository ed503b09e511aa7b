"""An update on a device that is queued before the host has read the sums of its step.

The scale of the gradients and the factor that clips them are found on the device, and so is whether the step is finite:
if not, the update changes nothing. So the device goes on while the host reads the sums, calls hooks and asks for the
next step.
"""

import contextlib
from collections.abc import Callable

import numpy as np

from ..arena import HEADER
from ..device import Graph
from ..ops.update import step_numbers
from ..step_header import StepHeader
from .base import ArenaShard, Optimizer
from .clip import QueuedNorm

MOST_NUMBERS = 4  # of any optimizer
MOST_BYTES = 1 << 32  # of weights and slots, which are copied to compare a graph's bits
EAGER = 2  # updates before a graph is captured: they take the memory and build the kernels that it needs


class QueuedUpdate:
    """Updates of all weights of an arena, each queued behind the sums of its step.

    Parameters
    ----------
    optimizer : Optimizer
        Its arena is on a device, and it has ``step_numbers``.
    norm : QueuedNorm
        Queued before each ``queue``.
    max_norm : float
        To which gradients are clipped; 0 for no clipping.
    captures : bool
        Launch the update as a CUDA graph, after a comparison of bits.
    note : callable(str)
        Told why there is no graph, if it comes to that.
    """

    def __init__(
        self, optimizer: Optimizer, norm: QueuedNorm, max_norm: float, captures: bool, note: Callable[[str], None]
    ):
        self._optimizer, self._norm, self._max_norm, self._note = optimizer, norm, max_norm, note
        arena = self._arena = optimizer.arena
        self._device = arena.device
        self._written = self._device.pinned_empty((MOST_NUMBERS,), np.float64)
        self._written.fill(0)
        self._given = self._device.zeros((MOST_NUMBERS,), np.float64)
        self._numbers = self._device.zeros((1 + MOST_NUMBERS,))
        parts = (slice(HEADER, arena.size),)
        self._shard = ArenaShard(parts, (arena.gradients,), numbers=self._numbers)
        self._graph: Graph | None = None
        self._captures, self._allocations, self._done = captures, 0, 0

    def begin(self, lr: float) -> None:
        """Begin a step with this rate: before the host waits for the device, which then has read the numbers."""
        self._optimizer.step_count += 1
        given = self._optimizer.step_numbers(float(lr))
        self._written[: len(given)] = given
        self._device.compute.copy(self._given, self._written)

    def queue(self) -> None:
        """Queue the update."""
        if not self._optimizer.keeps_copy:
            self._arena.values_changed()
        if self._graph is not None and self._allocations == self._device.allocations:
            self._graph.launch()
            return
        self._graph = None
        if self._captures and self._done >= EAGER:
            self._graph = self._capture()
        else:
            self._launch()
        self._done += 1

    def undo(self) -> None:
        """Forget a step that was left out."""
        self._optimizer.step_count -= 1

    def _launch(self) -> None:
        totals = self._arena.gradients[StepHeader.TOTALS]
        step_numbers(totals, self._norm.squares, self._given, self._max_norm, self._numbers)
        self._optimizer.step(0.0, 1.0, self._shard, begun=True)

    def _capture(self) -> Graph | None:
        """Do the update, and return it as a graph; None if that does something else."""
        device, needed = self._device, sum(array.nbytes for array in self._arrays())
        if needed > min(MOST_BYTES, device.free_bytes // 2):
            self._captures = False
            self._note("no CUDA graph of the update: it is too large to compare")
            self._launch()
            return None
        before = [array.copy() for array in self._arrays()]
        self._launch()
        expected = [device.to_host(array).tobytes() for array in self._arrays()]
        reason = "it computes something else"
        try:
            device.begin_capture()
            try:
                self._launch()
            except BaseException:
                with contextlib.suppress(RuntimeError):
                    device.end_capture()
                raise
            graph = device.end_capture()
            self._restore(before)
            graph.launch()
            if [device.to_host(array).tobytes() for array in self._arrays()] == expected:
                self._allocations = device.allocations
                return graph
        except RuntimeError as error:  # as CUDA's errors are
            reason = str(error)
        self._captures = False
        self._note(f"no CUDA graph of the update: {reason}")
        self._restore(before)
        self._launch()
        return None

    def _arrays(self) -> list[np.ndarray]:
        return [self._arena.values, *self._optimizer.slots.values()]

    def _restore(self, before: list[np.ndarray]) -> None:
        for array, values in zip(self._arrays(), before, strict=True):
            array[...] = values

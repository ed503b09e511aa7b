"""Flat buffers: every parameter of a model in one array, every gradient in a second one with the same offsets.

Parameters are laid out in the order in which backward finishes their gradients (last layer first), so a
gradient bucket is a slice that can be sent while backward still runs, a shard is a slice, the optimizer is
one pass over a slice, and a checkpoint is the buffer with a table of names, shapes and offsets.

    values      | header | last.weight | last.bias | ... | first.weight | first.bias |
    gradients   | header | last.weight | last.bias | ... | first.weight | first.bias |

Each view starts on a cache line; the gaps hold zeros and stay zero. The header of the gradient buffer holds
the sums that every step needs beside its gradients (loss, weight, correct ...): they ride in the first
bucket and cost no message of their own.
"""

import math
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .device import ALIGNMENT, CPU, Device

HEADER = 16  # elements: a cache line of float32
TOTALS = 3  # of them, the first: weight, loss, correct

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class Parameter:
    """A trainable tensor: ``data`` and ``grad`` are views of an arena once the layer is bound to one.

    Parameters
    ----------
    shape : tuple of int
    init : callable(rng, shape) -> array
        Draws the first values.
    decay : bool
        Whether weight decay applies (biases and normalisation scales say False).
    uses : int
        How many times one backward pass writes the gradient (2 for a weight shared by two layers).
    """

    def __init__(self, shape: tuple[int, ...], init: Initializer, *, decay: bool = True, uses: int = 1):
        self.shape = tuple(shape)
        self.size = math.prod(self.shape)
        self.init = init
        self.decay = decay
        self.uses = uses
        self.name = ""
        self.index = self.start = self.stop = -1
        self.data: np.ndarray = np.empty(0)
        self.grad: np.ndarray = np.empty(0)
        self._writes = 0
        self._arena: Arena | None = None

    @property
    def accumulate(self) -> bool:
        """True when ``grad`` already holds a part of this step's gradient, to be added to and not overwritten."""
        return self._writes > 0

    def forget(self) -> None:
        """Let the next gradient overwrite this one."""
        self._writes = 0

    def written(self) -> None:
        """Say that one use of this parameter has put its gradient into ``grad`` (every backward ends with it)."""
        self._writes += 1
        if self._arena is not None:
            self._arena._written(self)


class State:
    """A tensor that is kept but not trained (running statistics): ``data`` is a view of the arena's states."""

    def __init__(self, shape: tuple[int, ...], fill: float):
        self.shape = tuple(shape)
        self.size = math.prod(self.shape)
        self.fill = fill
        self.name = ""
        self.data: np.ndarray = np.empty(0)


class Arena:
    """The buffers of one model.

    Parameters
    ----------
    parameters, states : iterable of (name, Parameter) and of (name, State)
        In forward order, as ``Layer.named_parameters()`` and ``Layer.named_states()`` give them.
    seed : int
        Each parameter draws from a generator of (seed, its name), so its first value depends on nothing else.
    gradient_device : Device
        Where gradients live, if elsewhere (``comm.shared.SharedDevice``).

    Attributes
    ----------
    values, gradients : (size,) arrays of ``dtype``, aligned to 64 bytes
    states : (num_state,) array
    parameters : list of Parameter, in arena order
    header : (HEADER,) array of the host
        A view of ``gradients`` where these are the host's; else a copy, which ``put_header`` and ``get_header`` move.
    on_host : bool
        Gradients are the host's.
    on_ready : callable(Parameter) or None
        Called when the gradient of a parameter is complete for this step.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, Parameter]],
        states: Iterable[tuple[str, State]] = (),
        *,
        seed: int = 0,
        dtype: Any = np.float32,
        device: Device = CPU,
        gradient_device: Device | None = None,
    ):
        self.dtype = np.dtype(dtype)
        self.parameters = _distinct(parameters)[::-1]
        self.state_list = _distinct(states)
        self.on_ready: Callable[[Parameter], None] | None = None
        self._microbatches = 1
        self.size = _align(HEADER, self.dtype)
        for index, p in enumerate(self.parameters):
            p.index, p.start, p.stop, p._arena = index, self.size, self.size + p.size, self
            self.size = _align(p.stop, self.dtype)
        self.device = device
        values = device.from_host(self._first_values(seed))
        self._bind(values, (gradient_device or device).zeros((self.size,), self.dtype))
        self.states = device.zeros((sum(s.size for s in self.state_list),), self.dtype)
        start = 0
        for s in self.state_list:
            s.data = self.states[start : start + s.size].reshape(s.shape)
            s.data.fill(s.fill)
            start += s.size

    @property
    def num_parameters(self) -> int:
        """The number of trainable scalars (padding not counted)."""
        return sum(p.size for p in self.parameters)

    def _first_values(self, seed: int) -> np.ndarray:
        values = CPU.zeros((self.size,), self.dtype)
        for p in self.parameters:
            rng = np.random.default_rng([seed, zlib.crc32(p.name.encode())])
            values[p.start : p.stop].reshape(p.shape)[...] = p.init(rng, p.shape)
        return values

    def move(self, values: np.ndarray, gradients: np.ndarray) -> None:
        """Live in other buffers from now on: ``values`` (size,) holds what it shall hold, gradients start as zeros.

        Views of the old buffers, and the blocks that an optimizer has cut from them, go on showing the old ones: move
        before the first step.
        """
        for buffer in (values, gradients):
            if buffer.shape != (self.size,) or buffer.dtype != self.dtype:
                raise ValueError(
                    f"the arena has {self.size} elements of {self.dtype}, not {buffer.shape}, {buffer.dtype}"
                )
        self._bind(values, gradients)

    def _bind(self, values: np.ndarray, gradients: np.ndarray) -> None:
        self.values, self.gradients = values, gradients
        self.on_host = isinstance(gradients, np.ndarray)
        self.header = gradients[:HEADER] if self.on_host else self.device.pinned_empty((HEADER,), self.dtype)
        for p in self.parameters:
            p.data = values[p.start : p.stop].reshape(p.shape)
            p.grad = gradients[p.start : p.stop].reshape(p.shape)

    @property
    def writes(self) -> list[int]:
        """How often the gradient of each parameter has been written in this step; assigned, nothing is called."""
        return [p._writes for p in self.parameters]

    @writes.setter
    def writes(self, counts: list[int]) -> None:
        for p, count in zip(self.parameters, counts, strict=True):
            p._writes = count

    def begin_step(self, microbatches: int = 1) -> None:
        """Forget all gradients; the next ``microbatches`` backward passes add up to one step."""
        self._microbatches = microbatches
        self.header.fill(0)
        if not self.on_host:
            self.gradients[:HEADER].fill(0)
        for p in self.parameters:
            p._writes = 0

    def add_totals(self, totals: Any) -> None:
        """Add the sums that a loss gave, at the header's start; a device adds its own where they are."""
        if self.on_host:
            for i, total in enumerate(totals):
                self.header[i] += total
        else:
            place = self.gradients[:TOTALS]
            np.add(place, totals, out=place)

    def put_header(self) -> None:
        """Bring the header to where the gradients are, before its bucket goes; what the losses added is there."""
        if not self.on_host:
            self.device.compute.copy(self.gradients[TOTALS:HEADER], self.header[TOTALS:])

    def get_header(self) -> None:
        """Bring the header back when its bucket has come: the one time in a step that the host waits for a device."""
        if not self.on_host:
            self.device.compute.copy(self.header, self.gradients[:HEADER])
            self.device.compute.record().wait()

    def end_backward(self) -> None:
        """Zero the gradient of each parameter that no backward has written, and report it ready."""
        for p in self.parameters:
            if p._writes == 0:
                p.grad.fill(0)
            if p._writes < p.uses * self._microbatches and self.on_ready is not None:
                self.on_ready(p)

    def named_tensors(self) -> dict[str, np.ndarray]:
        """Return the views of all values and states by name, in forward order: what a checkpoint holds."""
        views = {p.name: p.data for p in reversed(self.parameters)}
        return views | {s.name: s.data for s in self.state_list}

    def _written(self, p: Parameter) -> None:
        if p._writes == p.uses * self._microbatches and self.on_ready is not None:
            self.on_ready(p)


def _distinct(named: Iterable[tuple[str, Any]]) -> list[Any]:
    """Name each tensor and drop repetitions (a shared weight keeps its first name)."""
    found: dict[int, Any] = {}
    for name, tensor in named:
        if id(tensor) not in found:
            tensor.name = name
            found[id(tensor)] = tensor
    return list(found.values())


def _align(offset: int, dtype: np.dtype) -> int:
    step = ALIGNMENT // dtype.itemsize
    return -(-offset // step) * step

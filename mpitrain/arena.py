"""Flat buffers: every parameter of a model in one array, every gradient in a second one with the same offsets.

Parameters are laid out in the order in which backward finishes their gradients (last layer first), so a
gradient bucket is a slice that can be sent while backward still runs, a shard is a slice, the optimizer is
one pass over a slice, and a checkpoint is the buffer with a table of names, shapes and offsets.

    values      | header | last.weight | last.bias | ... | first.weight | first.bias | tables by rows | frozen |
    gradients   | header | last.weight | last.bias | ... | first.weight | first.bias |

Each view starts on a cache line; the gaps hold zeros and stay zero. Frozen parameters follow behind all trained ones,
in the values alone: what goes over gradients (sums over ranks, norms, updates, the optimizer's state) never meets them.
Between both are tables whose gradients are kept as rows (``Parameter.by_rows``), in the values and the state.

The header of the gradient buffer holds
the sums that every step needs besides its gradients (loss, weight, correct ...): they travel with the first
bucket and cost no message of their own.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .device import ALIGNMENT, CPU, Device, WeightCopy
from .device.reserved import ReservedMemory
from .model_table import HasParameters, ModelTable
from .parameter import Parameter, Shard, State, Tensor
from .step_header import StepHeader

__all__ = ["HEADER", "TOTALS", "Arena", "Parameter", "Shard", "State"]

HEADER, TOTALS = StepHeader.SIZE, StepHeader.NUM_TOTALS


class Arena:
    """The buffers of one model, or of the part of it that this rank holds.

    Parameters
    ----------
    parameters, states : iterable of (name, Parameter) and of (name, State)
        In forward order, from ``Layer.named_parameters()`` and ``Layer.named_states()``; or a layer, for both.
    seed : int
        Each parameter draws from a generator of (seed, its name), so its initial values depend on nothing else.
    whole : ModelTable, optional
        The tensors of the whole model, if these are a part of them: a weight that the part shares with another one then
        has the name, and so the initial values, that it has in the whole.
    gradient_device : Device
        The device of the gradients, if it is another one (``comm.shared.SharedDevice``).
    divide : callable(Arena) -> sequence of slice, optional
        Returns the parts of the values that this rank keeps, given the places of all parameters. The others are drawn
        and given back, a parameter at a time.

    Attributes
    ----------
    size, trained_size : int
        Elements of ``parameters``, and of all that are trained, with the header and padding.
    values : (trained_size + elements of the frozen parameters,) array of ``dtype``, aligned to 64 bytes
    gradients : (size,) array of ``dtype``, aligned to 64 bytes
    states : (num_state,) array
    parameters : list of Parameter, in arena order
        Those that are trained, with gradients in the arena.
    by_rows : list of Parameter, in arena order
        Those that are trained, with gradients as rows; they lie from ``size`` to ``trained_size``.
    frozen : list of Parameter, in arena order
    whole : ModelTable
        The tensors of the whole model: what files hold.
    copy : WeightCopy or None
        The values in bf16, for products of a GPU in that precision.
    header : (HEADER,) array of the host
        A view of ``gradients`` where these are on the host; else a copy, which ``put_header`` and ``get_header`` move.
    on_host : bool
        True if gradients are on the host.
    memory : ReservedMemory or None
        The memory of the values, if it can be given back.
    divided : tuple of slice or None
        The parts of the values that are right on this rank, where others keep the rest (``parallel.zero3``).
    """

    def __init__(
        self,
        parameters: "Iterable[tuple[str, Parameter]] | HasParameters",
        states: Iterable[tuple[str, State]] = (),
        *,
        seed: int = 0,
        dtype: Any = np.float32,
        device: Device = CPU,
        whole: ModelTable | None = None,
        gradient_device: Device | None = None,
        divide: "Callable[[Arena], Sequence[slice]] | None" = None,
    ):
        if isinstance(parameters, HasParameters):
            states, parameters = parameters.named_states(), parameters.named_parameters()
        parameters, states = list(parameters), list(states)
        self.dtype = np.dtype(dtype)
        self.whole = ModelTable.of_tensors(parameters, states) if whole is None else whole
        self._all = self.whole.named(parameters)[::-1]  # the order in which backward finishes their gradients
        self.parameters = [p for p in self._all if not (p.frozen or p.by_rows)]
        self.by_rows = [p for p in self._all if p.by_rows and not p.frozen]
        self.frozen = [p for p in self._all if p.frozen]
        self.state_list = self.whole.named(states)
        self.size = _align(HEADER, self.dtype)
        for index, p in enumerate(self.parameters):
            p.index, p.start, p.stop, p._due = index, self.size, self.size + p.size, p.uses
            self.size = _align(p.stop, self.dtype)
        self.num_values = self.size
        for p in self.by_rows:
            p.index, p.start, p.stop, p._on_ready = -1, self.num_values, self.num_values + p.size, None
            p._due, p.rows = p.uses, []
            self.num_values = _align(p.stop, self.dtype)
        self.trained_size = self.num_values
        for p in self.frozen:
            p.index, p.start, p.stop, p._on_ready = -1, self.num_values, self.num_values + p.size, None
            self.num_values = _align(p.stop, self.dtype)
        self.on_ready = None  # also where the parameters were in another arena before
        self.device = device
        self.memory: ReservedMemory | None = None
        self.divided: tuple[slice, ...] | None = None
        if divide is not None:
            self.divided = tuple(divide(self))
            self.memory = ReservedMemory(self.num_values, self.dtype, len(self.divided))
        values = device.from_host(self._initial_values(seed))
        scratch = device.zeros((max((p.size for p in self.frozen), default=0),), self.dtype)
        for p in self.frozen:
            p.grad, p.accumulate = scratch[: p.size].reshape(p.shape), False
        self._bind(values, (gradient_device or device).zeros((self.size,), self.dtype))
        self.states = device.zeros((sum(s.size for s in self.state_list),), self.dtype)
        start = 0
        for s in self.state_list:
            s.data = self.states[start : start + s.size].reshape(s.shape)
            s.data.fill(s.fill)
            start += s.size

    @property
    def trained(self) -> list[Parameter]:
        """The parameters that are trained, in the order of the values."""
        return [*self.parameters, *self.by_rows]

    @property
    def num_parameters(self) -> int:
        """The number of trainable scalars on this rank (padding not counted)."""
        return sum(p.size for p in self.trained)

    @property
    def num_frozen(self) -> int:
        """The number of scalars on this rank that are not trained."""
        return sum(p.size for p in self.frozen)

    @property
    def on_ready(self) -> Callable[[Parameter], None] | None:
        """Callback for each parameter whose gradient is complete for this step."""
        return self._on_ready

    @on_ready.setter
    def on_ready(self, function: Callable[[Parameter], None] | None) -> None:
        self._on_ready = function
        for p in self.parameters:  # which call it themselves: once per gradient, in the middle of backward
            p.call_when_ready(function)

    def _initial_values(self, seed: int) -> np.ndarray:
        values: np.ndarray = CPU.zeros((self.num_values,), self.dtype) if self.memory is None else self.memory.array
        for p in self._all:
            # A stream for each name: adding or dividing a layer does not change the values of the others.
            rng = np.random.default_rng([seed, zlib.crc32(p.name.encode())])
            p.draw(rng, values[p.start : p.stop].reshape(p.shape))
            if self.memory is not None:  # with the page that the parameter before has left
                self.give_back_others(max(0, p.start - self.memory.granule), p.stop)
        return values

    def give_back_others(self, start: int = 0, stop: int | None = None) -> None:
        """Give back the memory of values that other ranks keep, in a part of the arena."""
        begin, stop = start, self.num_values if stop is None else stop
        for own in sorted(self.divided or (), key=lambda part: part.start):
            if self.memory is not None and begin < own.stop and own.start < stop:
                self.memory.give_back(slice(begin, max(begin, own.start)))
                begin = own.stop
        if self.memory is not None and begin < stop:
            self.memory.give_back(slice(begin, stop))

    def move(self, values: np.ndarray, gradients: np.ndarray) -> None:
        """Use other buffers from now on: ``values`` with its contents, and ``gradients``, which are zero.

        Views of the old buffers, and the blocks that an optimizer has cut from them, stay views of the old ones: move
        before the first step.
        """
        for buffer, size in ((values, self.num_values), (gradients, self.size)):
            if buffer.shape != (size,) or buffer.dtype != self.dtype:
                raise ValueError(f"the arena has {size} elements of {self.dtype}, not {buffer.shape}, {buffer.dtype}")
        self._bind(values, gradients)

    def _bind(self, values: np.ndarray, gradients: np.ndarray) -> None:
        self.values, self.gradients = values, gradients
        self.copy: WeightCopy | None = self.device.copy_weights(values)
        self.on_host = isinstance(gradients, np.ndarray)
        self.header = gradients[:HEADER] if self.on_host else self.device.pinned_empty((HEADER,), self.dtype)
        for p in self._all:
            p.data = values[p.start : p.stop].reshape(p.shape)
        for p in self.parameters:
            p.grad = gradients[p.start : p.stop].reshape(p.shape)

    def values_changed(self) -> None:
        """Say that values were changed, by anything but the update of an optimizer, which writes the copy itself."""
        if self.copy is not None:
            self.copy.stale = True

    @property
    def writes(self) -> list[int]:
        """The number of times each gradient has been written in this step; assignment calls nothing."""
        return [p._writes for p in self.parameters]

    @writes.setter
    def writes(self, counts: list[int]) -> None:
        for p, count in zip(self.parameters, counts, strict=True):
            p._writes, p.accumulate = count, count > 0

    def begin_step(self, microbatches: int = 1) -> None:
        """Forget all gradients; the next ``microbatches`` backward passes add up to one step."""
        if self.copy is not None:
            self.copy.refresh()  # before a graph reads it
        self.header.fill(0)
        if not self.on_host:
            self.gradients[:HEADER].fill(0)
        for p in self.parameters:
            p._writes, p._due, p.accumulate = 0, p.uses * microbatches, False
        for p in self.by_rows:
            p._writes, p.rows = 0, []

    def add_totals(self, totals: Any) -> None:
        """Add the sums of a loss at the header's start; those of a device are added there."""
        if self.on_host:
            for i, total in enumerate(totals):
                self.header[i] += total
        else:
            place = self.gradients[:TOTALS]
            np.add(place, totals, out=place)

    def put_header(self) -> None:
        """Copy the header to the device of the gradients, before its bucket is sent; the losses' sums are there."""
        if not self.on_host:
            self.device.compute.copy(self.gradients[TOTALS:HEADER], self.header[TOTALS:])

    def get_header(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Copy the header back when its bucket has arrived: the only wait of the host for a device in a step.

        ``meanwhile`` queues work that the host does not wait for.
        """
        if not self.on_host:
            self.device.compute.copy(self.header, self.gradients[:HEADER])
            end = self.device.compute.record()
            if meanwhile is not None:
                meanwhile()
            end.wait()

    def end_backward(self) -> None:
        """Zero the gradient of each parameter that no backward has written, and report it ready."""
        for p in self.parameters:
            if p._writes == 0:  # it still holds the gradient of the step before
                p.grad.fill(0)
            if p._writes < p._due and p._on_ready is not None:
                p._on_ready(p)

    @property
    def tensors(self) -> list[Tensor]:
        """All parameters in forward order, then all states."""
        return [*reversed(self._all), *self.state_list]

    def put(self, name: str, whole: np.ndarray) -> None:
        """Fill the tensor of that name, or what is kept of it here, from the whole one, an array of the host."""
        tensor = next(one for one in self.tensors if one.name == name)
        part = np.ascontiguousarray(whole if tensor.shard is None else tensor.shard.take(whole))
        tensor.data[...] = self.device.from_host(part)
        self.values_changed()
        if self.divided is not None and isinstance(tensor, Parameter):
            self.give_back_others(tensor.start, tensor.stop)

    def named_tensors(self) -> dict[str, np.ndarray]:
        """Return the views of all values and states by name, in forward order."""
        return {tensor.name: tensor.data for tensor in self.tensors}


def _align(offset: int, dtype: np.dtype) -> int:
    step = ALIGNMENT // dtype.itemsize
    return -(-offset // step) * step

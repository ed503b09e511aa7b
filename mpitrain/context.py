"""One microbatch in flight: the results that forward keeps for backward, the random seed, and reused memory."""

import math
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from .device import CPU, Blocks, Buffers, Device, Loans, Overlay
from .key_value_cache import KeyValueCache

Later = list[Callable[[], None]]
PAD = -1
"""Number of a token that stands for none, at the end of a row of tokens (N, T)."""


class Tokens(NamedTuple):
    """Facts about the rows of tokens (N, T) of a microbatch, which layers between the first and the last need.

    Attributes
    ----------
    lengths : (N,) array of int64, or None
        Tokens of each row before its padding; None where no row has any.
    segments : (N, T) array of int64, or None
        Numbers, not decreasing in a row, of the sequences packed into it, which do not see each other; None where each
        row is one sequence.
    positions : (N, T) array of int64, or None
        Position of each token in its sequence; None for 0, 1, ..., T - 1.
    """

    lengths: Any = None
    segments: Any = None
    positions: Any = None


WHOLE_ROWS = Tokens()


class Context(Buffers, dict[Any, Any]):
    """The state of one microbatch: ``ctx[layer] = ...`` in forward, ``ctx[layer]`` in backward.

    ``ctx.lend(layer, name, shape)`` returns memory for what forward computes, lent until nothing refers to it, and
    ``ctx.empty(layer, name, shape)`` the layer's own, the same in every step; those of ``ctx.backward`` are for what
    backward computes. A training step with one microbatch uses one context over and over, and so does gradient
    accumulation, since its microbatches run one after the other; a pipeline needs one context for each in flight.

    Parameters
    ----------
    training : bool
        True in a training step (dropout drops, batch statistics are used), False in evaluation.
    seed : int
        Seeds everything random in forward, together with ``step`` and the sample's position.
    dtype : numpy dtype, optional
        The type of activations, by default that of the device.
    device : Device
    share : Context, optional
        The context of another microbatch in flight, whose loans and memory of backward this one uses, too. Only one of
        them is in backward at a time, and what backward returns is read before the next one begins.

    Attributes
    ----------
    sum_dtype : numpy dtype
        The type of sums, statistics and losses: fp32 where activations are bf16.
    step : int
        Number of the training step, set by the trainer before each forward.
    first : int
        Position of this microbatch's first sample in the global batch: sample ``i`` of ``x`` is sample ``first + i``
        of the step, on any number of ranks (law 1).
    counters : (2,) int64 array of the device, or None
        ``step`` and ``first`` for kernels launched by a CUDA graph, since numbers passed by value would be those of
        the captured step.
    tokens : Tokens
        Facts about the rows of tokens, set by the layer that takes them (``layers/tokens.py``) for those above it.
    cache : KeyValueCache or None
        Keys and values of the tokens before those of x, where a text is read in pieces (``generation/``).
    updates_statistics : bool
        False where another microbatch, with the same statistics, updates the running ones.
    row_multiple : int
        Rows that ``lend_rows`` returns begin at multiples of so many elements.
    backward : Buffers
        The memory of backward; it is this microbatch's alone while ``later`` is a list.
    """

    def __init__(
        self,
        *,
        training: bool = True,
        seed: int = 0,
        dtype: Any = None,
        device: Device = CPU,
        share: "Context | None" = None,
    ):
        dtype = device.activation_dtype if dtype is None else np.dtype(dtype)
        self._pool: Pool = Pool(device, dtype) if share is None else share._pool
        super().__init__(device.empty, dtype, self._pool.loans)
        self.sum_dtype = np.dtype(np.float32) if dtype.itemsize < 4 else dtype
        self.device = device
        self.training = training
        self.seed = seed
        self.step = 0
        self.first = 0
        self.counters: Any = None
        self.tokens = WHOLE_ROWS
        self.cache: KeyValueCache | None = None
        self.updates_statistics = True
        self.row_multiple = 1
        self._owns_pool = share is None
        self._later: Later | None = None
        self._use(self._pool.common)

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def _set_later(self, later: Later | None) -> None:
        if self._later is None and later is not None:
            self._use(self._pool.acquire())
        elif self._later is not None and later is None:
            self._pool.release(self._memory)
            self._use(self._pool.common)
        self._later = later

    def _use(self, memory: "BackwardMemory") -> None:
        self._memory, self.backward = memory, memory.buffers

    later = property(
        attrgetter("_later"),  # in C, since layers ask in every backward
        _set_later,
        doc="""None, or the list to which layers append what they put off: functions that write gradients.

        With a list, set before backward, layers with weights compute dx alone, and the functions, called in order and
        once each, do the rest. Until then x and dy of the model must stay as they are, and this context does no other
        forward. Set to None afterwards, which returns the memory.
        """,
    )

    @property
    def num_bytes(self) -> int:
        """The bytes of all arrays requested so far, except those shared with the context that owns them."""
        return super().num_bytes + (self._pool.num_bytes if self._owns_pool else 0)

    def shares_with(self, other: "Context") -> bool:
        """Return whether ``share`` made one of them share the memory of the other."""
        return self._pool is other._pool and self.dtype == other.dtype

    def lend_rows(self, owner: object, name: str, rows: int, columns: int) -> Any:
        """Return an array (rows, columns) as ``lend``, whose rows are perhaps apart (``row_multiple``)."""
        gap = -columns % self.row_multiple
        array = self.lend(owner, name, (rows, columns + gap))
        return array[:, :columns] if gap else array

    def repeat(self, owner: object, mark: object = None) -> tuple["Context", object]:
        """Return a context for results that ``owner`` does not keep but computes again, and a mark of its contents.

        All owners and microbatches use its memory in turn, except while ``later`` is a list. Where nobody has used it
        since an earlier call, which returned ``mark``, the same mark is returned.
        """
        memory = self._memory
        found = memory.repeats.get(id(owner))
        if found is None:
            new = Context if memory.blocks is None else partial(Repeat, memory.blocks, self.loans)
            found = memory.repeats[id(owner)] = new(dtype=self.dtype, device=self.device)
        found.seed, found.step, found.first, found.counters = self.seed, self.step, self.first, self.counters
        found.tokens = self.tokens
        found.later = self._later
        if mark is None or mark is not memory.mark:
            memory.mark = object()
            if memory.blocks is not None and memory.last is not None:
                memory.last.clear()  # what it refers to has no other use
            memory.last = found
        return found, memory.mark


class ForwardContext(Context):
    """The state of a forward that no backward follows: it keeps nothing of what layers put into it for that.

    So memory is lent again as soon as the next layer has read it. Entries under keys that are tuples are kept.

    Attributes
    ----------
    outputs_of : object
        The layer whose results are of ``sum_dtype``: the last one, where outputs are not to be rounded to bf16.
    """

    def __init__(self, *, dtype: Any = None, device: Device = CPU):
        super().__init__(training=False, dtype=dtype, device=device)
        self.outputs_of: object = None

    def lend(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Return an array as ``Buffers.lend``."""
        if dtype is None and owner is self.outputs_of:
            dtype = self.sum_dtype
        return super().lend(owner, name, shape, dtype)

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) is tuple:
            super().__setitem__(key, value)

    def empty(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Return an array with any contents; large ones are lent."""
        size = math.prod(shape) * np.dtype(self.dtype if dtype is None else dtype).itemsize
        if self.loans is None or size < self.loans.least:
            return super().empty(owner, name, shape, dtype)
        return self.lend(owner, name, shape, dtype)


class Repeat(Context):
    """A context whose memory lies in blocks that all repeated computations use in turn."""

    def __init__(self, blocks: Blocks, loans: Loans | None, *, dtype: Any, device: Device):
        super().__init__(dtype=dtype, device=device)
        self.loans, self._overlay = loans, Overlay(blocks, dtype, loans)
        self._use(BackwardMemory(self._overlay, blocks.nested))

    def empty(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Return the array ``name`` of ``owner``."""
        return self._overlay.empty(owner, name, shape, dtype)


class BackwardMemory:
    """The memory of one microbatch in backward, and of the computations that are repeated there.

    Attributes
    ----------
    buffers : Buffers
    blocks : Blocks or None
        Where repeated computations take turns; None where each has memory of its own.
    repeats : dict of int to Context
        The contexts of repeated computations by the id of their owner.
    mark : object
        Changes with the contents of ``repeats``.
    last : Context or None
        The one of them that was used last.
    """

    def __init__(self, buffers: Buffers, blocks: Blocks | None):
        self.buffers, self.blocks = buffers, blocks
        self.repeats: dict[int, Context] = {}
        self.mark = object()
        self.last: Context | None = None

    @property
    def num_bytes(self) -> int:
        """The bytes of all of it."""
        blocks = 0 if self.blocks is None else self.blocks.num_bytes
        return self.buffers.num_bytes + blocks + sum(repeat.num_bytes for repeat in self.repeats.values())


class Pool:
    """The memory that all contexts of a rank share: loans, and that of backward.

    Of the latter one is common, and there is one for each context that puts gradients off.
    """

    def __init__(self, device: Device, dtype: Any):
        self._device, self._dtype = device, dtype
        # a captured graph knows memory by its address, and queued work reads it after the call: neither is a reference
        self.loans = None if device.captures else Loans(device.empty)
        self.common = BackwardMemory(Buffers(device.empty, dtype, self.loans), Blocks(device.empty))
        self._all = [self.common]
        self._free: list[BackwardMemory] = []

    @property
    def num_bytes(self) -> int:
        """The bytes of all of it."""
        return sum(memory.num_bytes for memory in self._all) + (0 if self.loans is None else self.loans.num_bytes)

    def acquire(self) -> BackwardMemory:
        """Return memory for one microbatch, until ``release``."""
        if not self._free:
            self._free.append(BackwardMemory(Buffers(self._device.empty, self._dtype, self.loans), None))
            self._all.append(self._free[-1])
        return self._free.pop()

    def release(self, memory: BackwardMemory) -> None:
        """Take ``memory`` back."""
        self._free.append(memory)

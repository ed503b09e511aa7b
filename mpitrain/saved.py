"""What one microbatch's forward leaves for its backward, and the memory that both use again every step."""

import math
from typing import Any

import numpy as np

from .device import CPU, Device


class Saved(dict):
    """One microbatch in flight: ``saved[layer] = ...`` in forward, ``saved[layer]`` in backward.

    A training step with one microbatch uses one object over and over; gradient accumulation too, since
    its microbatches run one after the other; a pipeline keeps one for each microbatch in flight.

    Parameters
    ----------
    training : bool
        True in a training step (dropout drops, batch statistics are used), False in evaluation.
    seed : int
        Seeds everything random in the forward pass, together with ``step`` and the sample's place.
    dtype : numpy dtype
        Of the activations.

    Attributes
    ----------
    step : int
        Number of the training step, set by the trainer before each forward.
    first : int
        Place of this microbatch's first sample in the global batch: sample ``i`` of ``x`` is sample
        ``first + i`` of the step, on any number of ranks (law 1).
    counters : (2,) int64 array of the device, or None
        ``step`` and ``first`` for kernels that are launched by a graph: numbers passed by value would be those of the
        step in which it was captured.
    updates_statistics : bool
        False where another microbatch, with the same statistics, updates the running ones.
    """

    def __init__(self, *, training: bool = True, seed: int = 0, dtype: Any = np.float32, device: Device = CPU):
        super().__init__()
        self.training = training
        self.seed = seed
        self.dtype = np.dtype(dtype)
        self.device = device
        self.step = 0
        self.first = 0
        self.counters: Any = None
        self.updates_statistics = True
        self._buffers: dict[tuple[int, str, np.dtype], np.ndarray] = {}
        self._views: dict[tuple[int, str, np.dtype], np.ndarray] = {}

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def empty(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        """Return the buffer ``name`` of layer ``owner``: the same memory in every step, contents as it was left.

        A smaller batch (the ragged last one) gets a view of the start of the memory; a larger one grows it.
        The memory is this object's, and stays valid until the same name is asked for again.
        """
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        key = (id(owner), name, dtype)
        view = self._views.get(key)
        if view is not None and view.shape == shape:
            return view
        size = math.prod(shape)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[key] = self.device.empty((size,), dtype)
        view = self._views[key] = buffer[:size].reshape(shape)
        return view

    @property
    def num_bytes(self) -> int:
        """The bytes of all buffers that have been asked for."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        """Return memory that all layers share: valid only until the op that asked for it returns."""
        return self.empty(None, name, shape, dtype)

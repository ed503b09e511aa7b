"""One microbatch in flight: the results that forward keeps for backward, the random seed, and reused memory."""

from typing import Any

import numpy as np

from .device import CPU, Buffers, Device


class Context(Buffers, dict[Any, Any]):
    """The state of one microbatch: ``ctx[layer] = ...`` in forward, ``ctx[layer]`` in backward.

    ``ctx.empty(layer, name, shape)`` returns the layer's own memory, the same in every step. A training step with one
    microbatch uses one context over and over, and so does gradient accumulation, since its microbatches run one after
    the other; a pipeline needs one context for each microbatch in flight.

    Parameters
    ----------
    training : bool
        True in a training step (dropout drops, batch statistics are used), False in evaluation.
    seed : int
        Seeds everything random in forward, together with ``step`` and the sample's position.
    dtype : numpy dtype
        The type of activations.
    device : Device

    Attributes
    ----------
    step : int
        Number of the training step, set by the trainer before each forward.
    first : int
        Position of this microbatch's first sample in the global batch: sample ``i`` of ``x`` is sample ``first + i``
        of the step, on any number of ranks (law 1).
    counters : (2,) int64 array of the device, or None
        ``step`` and ``first`` for kernels launched by a CUDA graph, since numbers passed by value would be those of
        the captured step.
    updates_statistics : bool
        False where another microbatch, with the same statistics, updates the running ones.
    """

    def __init__(self, *, training: bool = True, seed: int = 0, dtype: Any = np.float32, device: Device = CPU):
        super().__init__(device.empty, dtype)
        self.device = device
        self.training = training
        self.seed = seed
        self.step = 0
        self.first = 0
        self.counters: Any = None
        self.updates_statistics = True

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

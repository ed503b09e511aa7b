"""Updates of weights on a GPU: one launch for a block of the arena."""

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import update as ops
from .launch import loop

SGD = kernel("optim.cu", name="sgd")
ADAM = kernel("optim.cu", name="adam")
NEIGHBOURS = 16  # elements that decay or not together
_DECAYS: "WeakKeyDictionary[Any, dict[tuple[int, bytes], Any]]" = WeakKeyDictionary()


@ops.sgd_update.cuda
def sgd_update(w: Any, block: ops.Block, scale: float, decay: float, momentum: float, nesterov: bool) -> bool:
    """One launch; the learning rate is in ``scale`` and ``decay``."""
    if w.dtype != np.float32 or len(block.sources) > 1:
        return False
    v = block.slots[0] if block.slots else None
    tail = (_count(w), 1.0, float(scale), float(momentum), float(decay), int(nesterov))
    loop(device_of(w), SGD, w.size, (w, block.grad, v, None, _decays(block), None, *tail))
    return True


@ops.adam_update.cuda
def adam_update(
    w: Any,
    block: ops.Block,
    scale: float,
    decay: float,
    shrink: float,
    betas: tuple[float, float],
    rate: float,
    eps: float,
) -> bool:
    """One launch."""
    if w.dtype != np.float32 or len(block.sources) > 1:
        return False
    tail = (_count(w), *map(float, (rate, eps, scale, *betas, decay, shrink)))
    loop(device_of(w), ADAM, w.size, (w, block.grad, *block.slots, None, _decays(block), None, *tail))
    return True


def _count(w: Any) -> np.ndarray:
    return np.array(w.size, np.int64)


def _decays(block: ops.Block) -> Any:
    """Return a byte for each 16 elements, whether they decay; made once for each block."""
    device = device_of(block.w)
    known = _DECAYS.setdefault(device, {})
    key = block.w.size, block.bounds.tobytes()
    if key not in known:
        flags = np.zeros(-(-block.w.size // NEIGHBOURS), np.uint8)
        for begin, end in block.bounds.reshape(-1, 2):
            flags[begin // NEIGHBOURS : -(-end // NEIGHBOURS)] = 1
        known[key] = device.from_host(flags)
    return known[key]

"""Weight updates on a GPU: one launch for each block of the arena."""

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import update as ops
from .launch import loop, run, size_of

STEP_NUMBERS = kernel("step_numbers.cu")
SGD = kernel("update.cu", name="sgd")
ADAM = kernel("update.cu", name="adam")
ADAGRAD = kernel("update.cu", name="adagrad")
DECAY_UNIT = 16  # neighboring elements of which all decay, or none
_DECAYS: "WeakKeyDictionary[Any, dict[tuple[int, bytes], Any]]" = WeakKeyDictionary()


@ops.sgd_update.cuda
def sgd_update(w: Any, block: ops.Block, scale: float, decay: float, momentum: float, nesterov: bool) -> bool:
    """One launch; the learning rate is in ``scale`` and ``decay``."""
    if w.dtype != np.float32 or len(block.sources) > 1:
        return False
    v = block.slots[0] if block.slots else None
    tail = (size_of(w), 1.0, float(scale), float(momentum), float(decay), int(nesterov))
    loop(device_of(w), SGD, w.size, (w, block.grad, v, _decays(block), block.copy, block.numbers, *tail))
    return True


@ops.adam_update.cuda
def adam_update(w: Any, block: ops.Block, step: ops.AdamStep) -> bool:
    """One launch."""
    if w.dtype != np.float32 or len(block.sources) > 1:
        return False
    scale, decay, shrink, beta1, beta2, rate, eps = map(float, step)
    tail = size_of(w), rate, eps, scale, beta1, beta2, decay, shrink
    fixed = w, block.grad, *block.slots, _decays(block), block.copy, block.numbers
    loop(device_of(w), ADAM, w.size, (*fixed, *tail))
    return True


@ops.adagrad_update.cuda
def adagrad_update(w: Any, block: ops.Block, scale: float, decay: float, rate: float, eps: float) -> bool:
    """One launch."""
    if w.dtype != np.float32 or len(block.sources) > 1:
        return False
    tail = size_of(w), float(rate), float(eps), float(scale), float(decay)
    fixed = w, block.grad, *block.slots, _decays(block), block.copy, block.numbers
    loop(device_of(w), ADAGRAD, w.size, (*fixed, *tail))
    return True


@ops.step_numbers.cuda
def step_numbers(totals: Any, squares: Any, given: Any, max_norm: float, numbers: Any) -> bool:
    """One launch of one block."""
    if not (totals.dtype == squares.dtype == numbers.dtype == np.float32 and given.dtype == np.float64):
        return False
    sizes = squares, int(squares.size), given, int(given.size), np.array(max_norm, np.float64)
    run(device_of(numbers), STEP_NUMBERS, 1, (totals, *sizes, numbers))
    return True


def _decays(block: ops.Block) -> Any:
    """Return a byte for each 16 elements, 1 where they decay; made once for each block."""
    device = device_of(block.w)
    known = _DECAYS.setdefault(device, {})
    key = block.w.size, block.bounds.tobytes()
    if key not in known:
        flags = np.zeros(-(-block.w.size // DECAY_UNIT), np.uint8)
        for begin, end in block.bounds.reshape(-1, 2):
            flags[begin // DECAY_UNIT : -(-end // DECAY_UNIT)] = 1
        known[key] = device.from_host(flags)
    return known[key]

"""Errors of codecs on a GPU, one launch each: the weight of the step is read where it is, in the memory of the GPU."""

from typing import Any

from ...device import device_of
from ...kernels.kernel import kernel
from .. import carry as ops
from .compress import factor
from .launch import fits, loop, run, size_of

ADD, KEEP, SPOIL, FACTORS = (
    kernel("carry.cu", name=name) for name in ("add_error", "keep_rest", "spoil", "step_factors")
)


@ops.add_error.cuda
def add_error(x: Any, error: Any, inject: Any, bad: Any) -> bool:
    """One launch."""
    if not fits(x, error):
        return False
    loop(device_of(x), ADD, x.size, (x, error if error.size else None, factor(inject), bad, size_of(x)))
    return True


@ops.keep_rest.cuda
def keep_rest(x: Any, error: Any, keep: Any, inverse: Any, bad: Any) -> bool:
    """One launch."""
    if not fits(x, error):
        return False
    loop(device_of(x), KEEP, x.size, (x, error, factor(keep), factor(inverse), bad, size_of(x)))
    return True


@ops.spoil.cuda
def spoil(message: Any, bad: Any) -> bool:
    """One launch, which ends at once if nothing is bad."""
    if not fits(message):
        return False
    loop(device_of(message), SPOIL, message.size, (message, bad, size_of(message)))
    return True


@ops.step_factors.cuda
def step_factors(weight: Any, factors: Any) -> bool:
    """One launch."""
    if not fits(weight, factors):
        return False
    run(device_of(weight), FACTORS, 1, (weight, factors))
    return True

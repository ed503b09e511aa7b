"""Element-by-element operations on a GPU: one launch each."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import elementwise as ops
from ..dispatch import Op
from .launch import fits, loop, size_of


def launcher(file: str, name: str) -> Callable[..., bool]:
    """Return the path of an op whose arguments are the arrays that the kernel ``name`` of ``file`` takes."""
    found = kernel(file, name=name)

    def path(*arrays: Any) -> bool:
        if not fits(*arrays):
            return False
        loop(device_of(arrays[0]), found, arrays[0].size, (*arrays, size_of(arrays[0])))
        return True

    return path


FORWARD: tuple[Op[..., None], ...] = (ops.relu, ops.tanh, ops.sigmoid, ops.silu)
BACKWARD: tuple[Op[..., None], ...] = (ops.relu_dx, ops.add_relu_dx, ops.tanh_dx, ops.sigmoid_dx, ops.silu_dx)
for op in FORWARD:
    op.cuda(launcher("elementwise.cu", f"{op.name}_forward"))
for op in (ops.add, ops.multiply, ops.add_relu, *BACKWARD):
    op.cuda(launcher("elementwise.cu", op.name))


def combine(operator: Any) -> Any:
    """Return the function that combines arriving arrays: our kernel for a sum, ``operator`` for all else."""
    return add_to if operator is np.add else operator


def add_to(target: Any, arrived: Any) -> None:
    """Add ``arrived`` to ``target``: one launch."""
    ops.add(target, arrived, target)

"""Element-by-element operations on a GPU: one launch each."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import elementwise as ops
from ..dispatch import Op
from .elements import element_kernel, elements_fit, is_bf16
from .launch import loop, size_of


def launcher(file: str, name: str) -> Callable[..., bool]:
    """Return the path of an op whose arguments are the arrays that the kernel ``name`` of ``file`` takes."""
    found = element_kernel(file, name=name)

    def path(*arrays: Any) -> bool:
        if not elements_fit(*arrays):
            return False
        loop(device_of(arrays[0]), found.of(arrays[0]), arrays[0].size, (*arrays, size_of(arrays[0])))
        return True

    return path


FORWARD: tuple[Op[..., None], ...] = (ops.relu, ops.tanh, ops.sigmoid, ops.silu)
BACKWARD: tuple[Op[..., None], ...] = (ops.relu_dx, ops.add_relu_dx, ops.tanh_dx, ops.sigmoid_dx, ops.silu_dx)
for op in FORWARD:
    op.cuda(launcher("elementwise.cu", f"{op.name}_forward"))
for op in (ops.add, ops.add_relu, *BACKWARD):
    op.cuda(launcher("elementwise.cu", op.name))
MULTIPLY = launcher("elementwise.cu", "multiply")
MULTIPLY_FP32 = kernel("elementwise.cu", {"ELEMENT_BF16": 1}, name="multiply_fp32")


@ops.multiply.cuda
def multiply(a: Any, b: Any, y: Any) -> bool:
    """One launch, also of bf16 by fp32, as the factors of dropout are."""
    if is_bf16(a) and b.dtype == np.float32 and b.flags.c_contiguous and elements_fit(a, y):
        loop(device_of(a), MULTIPLY_FP32, a.size, (a, b, y, size_of(a)))
        return True
    return MULTIPLY(a, b, y)


def combine(operator: Any) -> Any:
    """Return the function that combines arriving arrays: our kernel for a sum, ``operator`` for all else."""
    return add_to if operator is np.add else operator


def add_to(target: Any, arrived: Any) -> None:
    """Add ``arrived`` to ``target``: one launch."""
    ops.add(target, arrived, target)

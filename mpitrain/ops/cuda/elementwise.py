"""Activations on a GPU, sums and products, element by element: one launch each, of arrays alike."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import activations, gelu
from ..dispatch import Op
from .launch import loop


def launcher(name: str, num_arrays: int, extra: int = 0) -> Callable[..., bool]:
    """Return a path of an op whose arguments are ``num_arrays`` arrays, as the kernel takes them, and ``extra`` others.

    It covers arrays of fp32 that lie in one piece. What is extra is scratch, which only NumPy needs.
    """
    what = kernel("elementwise.cu", name=name)

    def path(*arguments: Any) -> bool:
        assert len(arguments) == num_arrays + extra, f"the arguments of {name}"
        arrays = arguments[:num_arrays]
        if not all(a.dtype == np.float32 and a.flags.c_contiguous for a in arrays):
            return False
        size = arrays[0].size
        loop(device_of(arrays[0]), what, size, (*arrays, np.array(size, np.int64)))
        return True

    return path


PATHS: tuple[tuple[Op[Any, Any], str, int, int], ...] = (
    (activations.add, "add", 3, 0),
    (activations.multiply, "multiply", 3, 0),
    (activations.relu, "relu_forward", 2, 0),
    (activations.relu_dx, "relu_dx", 3, 1),
    (activations.add_relu, "add_relu", 3, 0),
    (activations.add_relu_dx, "add_relu_dx", 3, 0),
    (activations.tanh, "tanh_forward", 2, 0),
    (activations.tanh_dx, "tanh_dx", 3, 1),
    (activations.sigmoid, "sigmoid_forward", 2, 0),
    (activations.sigmoid_dx, "sigmoid_dx", 3, 1),
    (activations.silu, "silu_forward", 3, 0),
    (activations.silu_dx, "silu_dx", 4, 1),
    (gelu.gelu, "gelu_forward", 3, 0),
    (gelu.gelu_tanh, "gelu_tanh_forward", 3, 0),
    (gelu.gelu_dx, "multiply", 3, 0),
)
for each, name, num_arrays, extra in PATHS:
    each.cuda(launcher(name, num_arrays, extra))


def combine(operator: Any) -> Any:
    """Return what combines arrays that arrive: our kernel for a sum, ``operator`` for all else."""
    return add_to if operator is np.add else operator


def add_to(target: Any, arrived: Any) -> None:
    """Add ``arrived`` to ``target``: one launch."""
    activations.add(target, arrived, target)

"""Activations on a GPU, and sums of what has arrived: one launch each."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import Kernel, kernel
from .. import activations
from .launch import loop


def _kernels(name: str) -> Kernel:
    return kernel("elementwise.cu", name=name)


FORWARD = {name: _kernels(f"{name}_forward") for name in ("relu", "tanh", "sigmoid")}
BACKWARD = {name: _kernels(f"{name}_dx") for name in ("relu", "tanh", "sigmoid")}


ADD = _kernels("add")


def combine(operator: Any) -> Any:
    """Return what combines arrays that arrive: our kernel for a sum, ``operator`` for all else."""
    return add_to if operator is np.add else operator


def add_to(target: Any, arrived: Any) -> None:
    """Add ``arrived`` to ``target``: one launch."""
    if _fits(target, arrived):
        loop(device_of(target), ADD, target.size, (target, arrived, target, np.array(target.size, np.int64)))
    else:
        np.add(target, arrived, out=target)


def _fits(*arrays: Any) -> bool:
    return all(a.dtype == np.float32 and a.flags.c_contiguous for a in arrays)


def _forward(name: str, x: Any, y: Any) -> bool:
    if not _fits(x, y):
        return False
    loop(device_of(x), FORWARD[name], x.size, (x, y, np.array(x.size, np.int64)))
    return True


def _backward(name: str, y: Any, dy: Any, dx: Any) -> bool:
    if not _fits(y, dy, dx):
        return False
    loop(device_of(y), BACKWARD[name], y.size, (y, dy, dx, np.array(y.size, np.int64)))
    return True


@activations.relu.cuda
def relu(x: Any, y: Any) -> bool:
    """Write max(x, 0)."""
    return _forward("relu", x, y)


@activations.relu_dx.cuda
def relu_dx(y: Any, dy: Any, dx: Any, mask: Any) -> bool:
    """Write dy where y > 0; no mask is needed."""
    return _backward("relu", y, dy, dx)


@activations.tanh.cuda
def tanh(x: Any, y: Any) -> bool:
    """Write tanh(x)."""
    return _forward("tanh", x, y)


@activations.tanh_dx.cuda
def tanh_dx(y: Any, dy: Any, dx: Any, slope: Any) -> bool:
    """Write dy (1 - y^2)."""
    return _backward("tanh", y, dy, dx)


@activations.sigmoid.cuda
def sigmoid(x: Any, y: Any) -> bool:
    """Write 1 / (1 + exp(-x))."""
    return _forward("sigmoid", x, y)


@activations.sigmoid_dx.cuda
def sigmoid_dx(y: Any, dy: Any, dx: Any, slope: Any) -> bool:
    """Write dy y (1 - y)."""
    return _backward("sigmoid", y, dy, dx)

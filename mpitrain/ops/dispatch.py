"""Ops with several implementations: the NumPy function that defines the op, and faster paths that must agree with it.

    @op
    def relu(x, y): ...            # NumPy: the product where nothing else is built, and the oracle of the others

    relu.cpu(C.relu)               # C, on NumPy arrays (ops/cpu/)
    relu.cuda(launch_relu)         # CUDA, on device arrays (ops/cuda/)

    relu(x, y)                     # runs the fastest path that covers these arguments
    relu.numpy(x, y)               # the function itself, also on device arrays: they implement np.* (NEP 13, 18)

A path has the arguments of the NumPy function. The first is an array, whose kind selects cpu or cuda. A path that does
not cover a type, shape or layout returns False before it has written anything; then the NumPy function runs. A matrix
product in it needs cuBLAS on a GPU. Arrays in bf16 are passed to it in fp32: it would round every step and every sum.
"""

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np

from ..device import cublas_error, is_bf16

P = ParamSpec("P")
R = TypeVar("R")
Path = TypeVar("Path", bound=Callable[..., object])

OPS: dict[str, "Op[..., object]"] = {}
"""All ops by name."""


class Op(Generic[P, R]):
    """A function on arrays and the paths that compute it.

    Attributes
    ----------
    name : str
    module : str
        The file of ops/ that defines it, without suffix.
    numpy : callable
        The function as written.
    paths : dict of str to callable
        The other implementations, "cpu" and "cuda", whether or not they are in use.
    """

    def __init__(self, function: Callable[P, R]):
        self.numpy = function
        self.paths: dict[str, Callable[..., object]] = {}
        self._cpu: Callable[..., object] | None = None
        self._cuda: Callable[..., object] | None = self._first_cuda
        functools.update_wrapper(cast(Callable[P, R], self), function)
        self.name, self.module = function.__name__, function.__module__.rpartition(".")[2]
        OPS[self.name] = cast("Op[..., object]", self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the fastest path that covers the arguments.

        Raises
        ------
        UserError
            If no path on a GPU does, and the NumPy function needs cuBLAS, which is not installed.
        """
        on_host = isinstance(args[0], np.ndarray)
        path = self._cpu if on_host else self._cuda
        if path is not None:
            result = path(*args, **kwargs)
            if result is not False:  # None counts as done: most paths only write
                return cast(R, result)
        try:
            return self.numpy(*args, **kwargs) if on_host else _in_fp32(self.numpy, args, kwargs)
        except ImportError as error:
            kind = f"{getattr(args[0], 'dtype', '')} {getattr(args[0], 'shape', '')}"
            refusal = cublas_error(error, f"{self.name} of {kind} on a GPU, for which there is no kernel,")
            raise refusal or error from None

    def _first_cuda(self, *args: P.args, **kwargs: P.kwargs) -> object:
        """Import the paths in CUDA, which no job without a GPU needs, and run that of this op; False without one."""
        importlib.import_module(f"{__package__}.cuda")  # another thread that comes here meanwhile waits for it
        self._cuda = path = self.paths.get("cuda")
        return path(*args, **kwargs) if path is not None else False

    def cpu(self, path: Path) -> Path:
        """Register the path for NumPy arrays, in C (also as a decorator)."""
        self._cpu = self.paths["cpu"] = path
        return path

    def cuda(self, path: Path) -> Path:
        """Register the path for device arrays (also as a decorator)."""
        self._cuda = self.paths["cuda"] = path
        return path


def op(function: Callable[P, R]) -> Op[P, R]:
    """Make the NumPy function an op that other paths can join."""
    return Op(function)


def _in_fp32(function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    """Call ``function`` with fp32 copies of the arrays of a device that are bf16, and copy them back.

    What it has not changed comes back as it was: every bf16 is an fp32. Where two arguments are the same array, so are
    the copies. What it returns or keeps is fp32.
    """
    copies: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def widened(value: Any) -> Any:
        if isinstance(value, tuple):
            items = [widened(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        if not (hasattr(value, "dtype") and hasattr(value, "data") and is_bf16(value)):
            return value
        key = value.data.ptr, value.shape, value.strides
        if key not in copies:
            copies[key] = value, value.astype(np.float32)
        return copies[key][1]

    args, kwargs = tuple(map(widened, args)), {name: widened(value) for name, value in kwargs.items()}
    if not copies:
        return function(*args, **kwargs)
    result = function(*args, **kwargs)
    for array, wide in copies.values():
        np.copyto(array, wide, casting="same_kind")
    return result


@contextmanager
def numpy_only() -> Iterator[None]:
    """Run all ops by their NumPy functions inside a ``with`` block, for tests and lectures."""
    kept = [(each, each._cpu, each._cuda) for each in OPS.values()]
    try:
        for each in OPS.values():
            each._cpu = each._cuda = None
        yield
    finally:
        for each, cpu, cuda in kept:
            each._cpu, each._cuda = cpu, cuda

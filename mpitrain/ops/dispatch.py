"""Ops with several implementations: the NumPy function that defines the op, and faster paths that must agree with it.

    @op
    def relu(x, y): ...            # NumPy: the product where nothing else is built, and the oracle of the others

    relu.cpu(C.relu)               # C, on NumPy arrays (ops/cpu/)
    relu.cuda(launch_relu)         # CUDA, on device arrays (ops/cuda/)

    relu(x, y)                     # runs the fastest path that covers these arguments
    relu.numpy(x, y)               # the function itself, also on device arrays: they implement np.* (NEP 13, 18)

A path has the arguments of the NumPy function. The first is an array, whose kind selects cpu or cuda. A path that does
not cover a type, shape or layout returns False before it has written anything; then the NumPy function runs. A matrix
product in it needs cuBLAS on a GPU.
"""

import functools
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, ParamSpec, TypeVar, cast

import numpy as np

from ..device import cublas_error

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
        path = self._cpu if isinstance(args[0], np.ndarray) else self._cuda
        if path is not None:
            result = path(*args, **kwargs)
            if result is not False:  # None counts as done: most paths only write
                return cast(R, result)
        try:
            return self.numpy(*args, **kwargs)
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

"""One op, several paths: the NumPy function that everyone can read, and faster ones that must agree with it.

    @op
    def relu(x, y): ...            # NumPy: the product where nothing else is built, and the oracle of the others

    relu.native(kernels.relu)      # C, on NumPy arrays (ops/native.py)
    relu.cuda(launch_relu)         # CUDA, on device arrays

    relu(x, y)                     # takes the fastest path that covers these arguments
    relu.numpy(x, y)               # this very function, also on device arrays: they answer np.* calls (NEP 13, 18)

A path has the arguments of the NumPy function, the first of them an array, whose kind decides between native and cuda.
It returns False, before it has written anything, where it does not cover a type, shape or layout: then NumPy runs.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, ParamSpec, TypeVar, cast

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
Path = TypeVar("Path", bound=Callable[..., object])

OPS: dict[str, "Op"] = {}


class Op(Generic[P, R]):
    """A function on arrays with the paths that compute it.

    Attributes
    ----------
    numpy : callable
        The function as it is written.
    paths : dict of str to callable
        The others by name, "native" and "cuda", whether or not they are used now.
    """

    def __init__(self, function: Callable[P, R]):
        self.numpy = function
        self.paths: dict[str, Callable[..., object]] = {}
        self._native: Callable[..., object] | None = None
        self._cuda: Callable[..., object] | None = None
        functools.update_wrapper(cast(Callable[P, R], self), function)
        self.name = function.__name__
        OPS[self.name] = self

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the fastest path that covers the arguments."""
        path = self._native if isinstance(args[0], np.ndarray) else self._cuda
        if path is not None:
            result = path(*args, **kwargs)
            if result is not False:
                return cast(R, result)
        return self.numpy(*args, **kwargs)

    def native(self, path: Path) -> Path:
        """Register the path in C for NumPy arrays (also as a decorator)."""
        self._native = self.paths["native"] = path
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
    """Run all ops by their NumPy functions inside a ``with`` block: for tests and lectures."""
    kept = [(each, each._native, each._cuda) for each in OPS.values()]
    try:
        for each in OPS.values():
            each._native = each._cuda = None
        yield
    finally:
        for each, native, cuda in kept:
            each._native, each._cuda = native, cuda

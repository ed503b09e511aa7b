"""Check of moves and layers by inner products: <F x, dy> = <x, F* dy>, summed over the ranks, in float64.

Source: Hewett & Grady 2020, "A linear algebraic approach to model parallelism in deep learning", arXiv 2006.03108. A
product in the space "one" counts on rank 0 only, and the other ranks' arrays must be the same. Without the spaces the
test would accept wrong layers, such as a Copy that sums nothing.
"""

import inspect
import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arena import Arena
from ...comm.group import Group
from ...context import Context
from ...errors import UserError
from ...layers.base import Layer
from ...user_code import describe, line_in
from .move import Move

MOST_ERROR = 1e-13
MOST_ERROR_OF_DERIVATIVE = 1e-7  # of a central difference
STEP = 1e-5  # of the difference: its errors, of order STEP^2 and 1e-16 / STEP, are about 1e-10
SPACES = ("one", "parts")


@dataclass(frozen=True)
class Checked:
    """Result of one case.

    Attributes
    ----------
    error : float
        Relative error of the inner products.
    messages, bytes_sent : int
        Sent by the busiest rank in forward and backward.
    why : str
        Error of the layer, empty if there is none.
    """

    error: float
    messages: int
    bytes_sent: int
    why: str

    @property
    def passed(self) -> bool:
        """True if forward and backward are adjoint."""
        return not self.why


def check_adjoint(layer: Layer, shape: tuple[int, ...], group: Group, *, seed: int = 0, name: str = "") -> Checked:
    """Check that backward of ``layer`` is the adjoint of its forward, or of its derivative if it is not a Move.

    All ranks call it together. Parameters of the layer are given values, but their gradients are not checked.

    Parameters
    ----------
    layer : Layer
        Attributes ``inputs`` and ``outputs`` name the spaces of x and y: "parts" if they are missing.
    shape : tuple of int
        Shape of the array of all ranks together: x has the shape ``layer.input_shape(shape)``, by default this one.
    group : Group
    seed : int
    name : str
        Name of a user's file and class, for its errors.

    Raises
    ------
    UserError
        If forward or backward of a user's layer fails on this rank; the others may then wait for it.
    """
    run, spaces = _Run(layer, name), (getattr(layer, "inputs", "parts"), getattr(layer, "outputs", "parts"))
    with group.together():
        if not set(spaces) <= set(SPACES):
            raise UserError(f"{run.name}: inputs and outputs are {spaces}, but must be one or parts")
        own = run.input_shape(shape)
    run.bind()
    before, x = _sent(layer), _draw(own, spaces[0], group, seed)
    y = run.forward(x)
    dy = _draw(y.shape, spaces[1], group, seed + 1)
    dx = run.backward(dy)
    busiest = group.maximum(_sent(layer) - before)
    with group.together():
        if dx.shape != x.shape:
            raise UserError(f"{run.name}: x is {x.shape}, but backward returns {dx.shape}")
    if isinstance(layer, Move):
        error, most = _error(x, dx, y, dy, spaces, group), MOST_ERROR
    else:
        v = _draw(own, spaces[0], group, seed + 2)
        slope = (run.forward(x + STEP * v) - run.forward(x - STEP * v)) / (2 * STEP)
        error, most = _error(v, dx, slope, dy, spaces, group), MOST_ERROR_OF_DERIVATIVE
    why = "" if error < most else f"<F x, dy> and <x, F* dy> differ by {error:.1e} of their size"
    for space, array, called in ((spaces[1], y, "y"), (spaces[0], dx, "dx")):
        if space == "one" and (apart := _apart(array, group)) >= MOST_ERROR:
            why = f"{called} must be the same on all ranks, but differs by {apart:.1e} of its size"
    return Checked(error, int(busiest[0]), int(busiest[1]), why)


class _Run:
    """Calls of a layer, in one context; an exception in a user's file becomes one sentence."""

    def __init__(self, layer: Layer, name: str):
        self.name, self._file_name = name or layer.kind, name
        self._layer, self._ctx = layer, Context(dtype=np.float64)

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this rank's x."""
        if not hasattr(self._layer, "input_shape"):
            return whole
        shape = self._call("input_shape", whole)
        try:
            return tuple(operator.index(length) for length in shape)
        except TypeError:
            raise UserError(f"input_shape of {self.name} returned {shape!r}, which is no shape") from None

    def bind(self) -> None:
        """Give the parameters their initial values."""
        if any(True for _ in self._layer.named_parameters()):
            Arena(self._layer, dtype=np.float64).begin_step()

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return a copy of y."""
        return self._array("forward", x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return a copy of dx."""
        return self._array("backward", dy)

    def _array(self, method: str, argument: np.ndarray) -> np.ndarray:
        result = self._call(method, argument.copy(), self._ctx)
        if not isinstance(result, np.ndarray) or result.dtype != np.float64:
            found = result.dtype if isinstance(result, np.ndarray) else type(result).__name__
            raise UserError(f"{method} of {self.name} returned {found}, not an array of float64")
        return result.copy()

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._layer, method)(*arguments)
        except UserError:
            raise
        except Exception as error:
            if not self._file_name:
                raise
            where = line_in(inspect.getfile(type(self._layer)), error.__traceback__)
            raise UserError(f"{method} of {self._file_name} failed: {describe(error)}{where}") from error


def _draw(shape: tuple[int, ...], space: str, group: Group, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, group.rank + 1 if space == "parts" else 0]).standard_normal(shape)


def _error(
    x: np.ndarray, dx: np.ndarray, y: np.ndarray, dy: np.ndarray, spaces: tuple[str, str], group: Group
) -> float:
    """Return |<y, dy> - <x, dx>| relative to the product of the norms, the larger one of the two sides."""
    once_x, once_y = (space == "parts" or group.rank == 0 for space in spaces)
    sums = np.array(
        [
            *(once_y * np.vdot(*pair) for pair in ((y, dy), (y, y), (dy, dy))),
            *(once_x * np.vdot(*pair) for pair in ((x, dx), (x, x), (dx, dx))),
        ]
    )
    ydy, yy, dydy, xdx, xx, dxdx = group.sum(sums).tolist()
    size = math.sqrt(max(yy * dydy, xx * dxdx))
    return abs(ydy - xdx) / size if size else 0.0 if ydy == xdx else math.inf


def _apart(array: np.ndarray, group: Group) -> float:
    """Return the largest difference to rank 0's array, relative to its largest element; inf for another shape."""
    if len(set(group.all_gather(array.shape))) > 1:
        return math.inf
    first = np.ascontiguousarray(array).copy()
    group.broadcast(first)
    found = np.array([abs(array - first).max(initial=0), abs(array).max(initial=0)])
    apart, largest = group.maximum(found).tolist()
    return apart / largest if largest else 0.0


def moves_in(layer: Layer) -> list[Move]:
    """Return the moves that ``layer`` is made of."""
    return [one for one in layer.layers() if isinstance(one, Move)]


def _sent(layer: Layer) -> np.ndarray:
    """Return messages and bytes that the moves in ``layer`` have sent so far."""
    sent = [one.exchange for one in moves_in(layer)]
    return np.array([sum(one.messages for one in sent), sum(one.bytes_sent for one in sent)], np.int64)

"""Parameters and states: named tensors of a model, whole or divided among ranks."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, runtime_checkable

import numpy as np

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class Summing(Protocol):
    """Ranks that add arrays in place, all of them together: a ``Group``."""

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Replace ``array`` by its sum over the ranks."""


@dataclass(frozen=True)
class Shard:
    """The part of a tensor that one rank holds: some index ranges of one dimension.

    Parameters
    ----------
    dim : int
    ranges : tuple of (start, stop)
        In ascending order, without overlap.
    axis : str
        The axis of the mesh whose ranks have the other parts.
    """

    dim: int
    ranges: tuple[tuple[int, int], ...]
    axis: str = ""

    @classmethod
    def even(cls, dim: int, size: int, index: int, count: int, groups: int = 1, axis: str = "") -> "Shard":
        """Return part ``index`` of ``count`` nearly equal parts of a dimension; the first ones may be longer by 1.

        Parameters
        ----------
        dim, size : int
            The dimension and its whole length.
        index, count : int
        groups : int
            Equal blocks of the dimension of which each is divided in the same way (3 for the outputs q, k, v of one
            Linear).
        axis : str

        Examples
        --------
        >>> Shard.even(1, 7, 0, 2), Shard.even(1, 12, 1, 2, groups=3)
        (Shard(dim=1, ranges=((0, 4),), axis=''), Shard(dim=1, ranges=((2, 4), (6, 8), (10, 12)), axis=''))
        """
        if size % groups or not 0 <= index < count:
            raise ValueError(f"part {index} of {count} of {size} indices in {groups} groups")
        block = size // groups
        begin, end = (block // count * i + min(i, block % count) for i in (index, index + 1))
        return cls(dim, tuple((g * block + begin, g * block + end) for g in range(groups)), axis)

    def shape(self, full: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the part of a tensor of shape ``full``."""
        if not 0 <= self.dim < len(full) or not all(0 <= a <= b <= full[self.dim] for a, b in self.ranges):
            raise ValueError(f"{self} is not a part of a tensor of shape {full}")
        length = sum(stop - start for start, stop in self.ranges)
        return (*full[: self.dim], length, *full[self.dim + 1 :])

    def take(self, whole: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return a copy of the part of ``whole``, in ``out`` if it is given."""
        nothing = whole[(*[slice(None)] * self.dim, slice(0))]  # there may be no ranges
        return np.concatenate([nothing, *(whole[place] for place in self._places())], axis=self.dim, out=out)

    def put(self, part: np.ndarray, whole: np.ndarray) -> None:
        """Write ``part`` to its place in ``whole``."""
        begin = 0
        for place, (start, stop) in zip(self._places(), self.ranges, strict=True):
            along = slice(begin, begin + stop - start)
            whole[place] = part[(*[slice(None)] * self.dim, along)]
            begin = along.stop

    def runs(self, full: tuple[int, ...], start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield where elements ``start`` to ``stop`` of the part lie in a tensor of shape ``full``, both flattened.

        Yields
        ------
        first, place, length : int
            The first element of the part, its place in the whole, and how many follow each other in both.

        Examples
        --------
        >>> list(Shard(1, ((0, 1), (2, 3))).runs((2, 3), 1, 4))
        [(1, 2, 1), (2, 3, 1), (3, 5, 1)]
        """
        inner = math.prod(full[self.dim + 1 :])
        lengths = [(end - begin) * inner for begin, end in self.ranges]
        row = max(1, sum(lengths))
        for outer in range(start // row, -(-stop // row)):
            first = outer * row
            for (begin, _), length in zip(self.ranges, lengths, strict=True):
                a, b = max(first, start), min(first + length, stop)
                if a < b:
                    yield a, (outer * full[self.dim] + begin) * inner + a - first, b - a
                first += length

    def _places(self) -> list[tuple[slice, ...]]:
        return [(*[slice(None)] * self.dim, slice(start, stop)) for start, stop in self.ranges]


@runtime_checkable
class PartInitializer(Protocol):
    """An initializer that draws a part of a tensor without the rest: ``layers.init.UniformByCounter``."""

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...], shard: Shard | None, out: np.ndarray) -> None:
        """Write the draws of a part of a tensor of ``shape`` to ``out``."""


class Tensor:
    """A named tensor of a model, or the part of it that this rank holds.

    Attributes
    ----------
    name : str
        The name in the whole model, the same on all ranks.
    full_shape : tuple of int
        The shape in the whole model.
    shard : Shard or None
        The part that this rank holds; None for all of it.
    shape, size
        Shape and number of elements of that part.
    data : array
        A view of the arena's buffer, once the layer is bound to one.
    """

    data: np.ndarray

    def __init__(self, shape: tuple[int, ...], shard: Shard | None = None):
        self.name = ""
        self.full_shape, self.shard = tuple(shape), shard
        self.shape = self.full_shape if shard is None else shard.shape(self.full_shape)
        self.size = math.prod(self.shape)
        self.data = np.empty(0)


class Parameter(Tensor):
    """A trainable tensor; ``grad`` is the view of its gradient.

    Parameters
    ----------
    shape : tuple of int
        The shape in the whole model.
    init : callable(rng, shape) -> array
        Draws the initial values of the whole tensor, of which a shard keeps its part: the same values on any number
        of ranks (law 1).
    shard : Shard, optional
    decay : bool
        True if weight decay applies (not to biases and scales of normalization).
    uses : int
        Number of writes of the gradient per backward pass (2 for a weight shared by two layers).

    Attributes
    ----------
    accumulate : bool
        True when ``grad`` already holds a part of this step's gradient, to be added to instead of overwritten.
    frozen : bool
        True if it keeps its values: it has no gradient, no state of the optimizer and no part in the norm. Set before
        it is bound to an arena. ``grad`` is then scratch memory, for layers that do not ask.
    by_rows : bool
        True if its gradient is kept in ``rows``, since a step meets few of its rows (``parallel.row_updates``); then it
        has no part in the gradients of the arena. Set before it is bound to one.
    rows : list of (numbers, gradients)
        Different rows (U,) and their gradients (U, ...), one pair for each microbatch.
    sum_over : Summing or None
        Ranks that have a copy of it each but compute parts of its gradient: the parts are summed when all are there,
        before the gradient is reported. Set before it is bound to an arena.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        init: Initializer,
        *,
        shard: Shard | None = None,
        decay: bool = True,
        uses: int = 1,
    ):
        super().__init__(shape, shard)
        self.init = init
        self.decay = decay
        self.uses = uses
        self.index = self.start = self.stop = -1
        self.grad = np.empty(0)
        self.accumulate = self.frozen = self.by_rows = False
        self.rows: list[tuple[np.ndarray, np.ndarray]] = []
        self._writes = self._due = 0
        self._on_ready: Callable[[Parameter], None] | None = None
        self.sum_over: Summing | None = None

    def part(self, shard: Shard) -> "Parameter":
        """Return a part of this parameter, with the initial values that it has in the whole."""
        made = Parameter(self.full_shape, self.init, shard=shard, decay=self.decay, uses=self.uses)
        made.frozen = self.frozen
        return made

    def watch(self, what: Literal["data", "grad"], call: "Callable[[Parameter], None] | None") -> None:
        """Have ``call`` called before ``data``, or ``grad``, is handed out; None ends that."""
        vars(self)[f"on_{what}"] = call
        watched = vars(self).get("on_data") or vars(self).get("on_grad")
        self.__class__ = Watched if watched else Parameter

    def initial_values(self, rng: np.random.Generator) -> np.ndarray:
        """Return the initial values of the part that this rank holds."""
        whole = self.init(rng, self.full_shape)
        return whole if self.shard is None else self.shard.take(whole)

    def draw(self, rng: np.random.Generator, out: np.ndarray) -> None:
        """Write the initial values of the part that this rank holds to ``out``, without the rest if ``init`` can."""
        if isinstance(self.init, PartInitializer):
            self.init.fill(rng, self.full_shape, self.shard, out)
        else:
            out[...] = self.initial_values(rng)

    def forget(self) -> None:
        """Mark the gradient to be overwritten by the next one."""
        self._writes, self.accumulate = 0, False

    def expect_another(self) -> None:
        """Complete the gradient in this step only with one more ``written`` than its uses."""
        self._due += 1

    @contextmanager
    def in_parts(self) -> Iterator[None]:
        """Write the gradient in several parts inside a ``with`` block: only a ``written`` after it counts."""
        writes, due, self._due = self._writes, self._due, -1
        try:
            yield
        finally:
            self._writes, self._due = writes, due

    def written(self) -> None:
        """Report that one use of this parameter has put its gradient into ``grad``: the end of every backward."""
        if self.frozen:
            return
        self._writes += 1
        self.accumulate = True
        if self._writes == self._due and self._on_ready is not None:
            self._on_ready(self)

    def call_when_ready(self, function: "Callable[[Parameter], None] | None") -> None:
        """Have ``function`` called with a complete gradient, after the sum over the ranks that have parts of it."""
        self._on_ready = function if self.sum_over is None else partial(_sum_first, self.sum_over, function)


def _sum_first(ranks: Summing, function: Callable[[Parameter], None] | None, p: Parameter) -> None:
    ranks.sum(p.grad)
    if function is not None:
        function(p)


class Watched(Parameter):
    """A parameter whose values may be on other ranks, or its gradient in a message: ``Parameter.watch``.

    Its class changes, so that others are plain attributes, which layers ask for in every step.
    """

    @property
    def data(self) -> np.ndarray:
        """The values, a view of the arena's buffer."""
        if call := vars(self).get("on_data"):
            call(self)
        found: np.ndarray = vars(self)["data"]
        return found

    @data.setter
    def data(self, values: np.ndarray) -> None:
        vars(self)["data"] = values

    @property
    def grad(self) -> np.ndarray:
        """The gradient, a view of the arena's buffer."""
        if call := vars(self).get("on_grad"):
            call(self)
        found: np.ndarray = vars(self)["grad"]
        return found

    @grad.setter
    def grad(self, gradient: np.ndarray) -> None:
        vars(self)["grad"] = gradient


class State(Tensor):
    """A tensor that is kept but not trained (running statistics): ``data`` is a view of the arena's states."""

    def __init__(self, shape: tuple[int, ...], fill: float, *, shard: Shard | None = None):
        super().__init__(shape, shard)
        self.fill = fill

    def part(self, shard: Shard) -> "State":
        """Return a part of this state."""
        return State(self.full_shape, self.fill, shard=shard)

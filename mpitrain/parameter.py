"""Parameters and states: named tensors of a model, whole or divided among ranks."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Shard:
    """The part of a tensor that one rank holds: some index ranges of one dimension.

    Parameters
    ----------
    dim : int
    ranges : tuple of (start, stop)
        In ascending order, without overlap.
    """

    dim: int
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def even(cls, dim: int, size: int, index: int, count: int, groups: int = 1) -> "Shard":
        """Return part ``index`` of ``count`` nearly equal parts of a dimension; the first ones may be longer by 1.

        Parameters
        ----------
        dim, size : int
            The dimension and its whole length.
        index, count : int
        groups : int
            Equal blocks of the dimension of which each is divided in the same way (3 for the outputs q, k, v of one
            Linear).

        Examples
        --------
        >>> Shard.even(1, 7, 0, 2), Shard.even(1, 12, 1, 2, groups=3)
        (Shard(dim=1, ranges=((0, 4),)), Shard(dim=1, ranges=((2, 4), (6, 8), (10, 12))))
        """
        if size % groups or not 0 <= index < count:
            raise ValueError(f"part {index} of {count} of {size} indices in {groups} groups")
        block = size // groups
        begin, end = (block // count * i + min(i, block % count) for i in (index, index + 1))
        return cls(dim, tuple((g * block + begin, g * block + end) for g in range(groups)))

    def shape(self, full: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the part of a tensor of shape ``full``."""
        if not 0 <= self.dim < len(full) or not all(0 <= a <= b <= full[self.dim] for a, b in self.ranges):
            raise ValueError(f"{self} is not a part of a tensor of shape {full}")
        length = sum(stop - start for start, stop in self.ranges)
        return (*full[: self.dim], length, *full[self.dim + 1 :])

    def take(self, whole: np.ndarray) -> np.ndarray:
        """Return a copy of the part of ``whole``."""
        return np.concatenate([whole[place] for place in self._places()], axis=self.dim)

    def put(self, part: np.ndarray, whole: np.ndarray) -> None:
        """Write ``part`` to its place in ``whole``."""
        begin = 0
        for place, (start, stop) in zip(self._places(), self.ranges, strict=True):
            along = slice(begin, begin + stop - start)
            whole[place] = part[(*[slice(None)] * self.dim, along)]
            begin = along.stop

    def _places(self) -> list[tuple[slice, ...]]:
        return [(*[slice(None)] * self.dim, slice(start, stop)) for start, stop in self.ranges]


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
    on_data, on_grad : callable(Parameter) or None
        Called before ``data``, or ``grad``, is handed out: values may be on other ranks, and a gradient in a message.
    """

    on_data: "Callable[[Parameter], None] | None" = None
    on_grad: "Callable[[Parameter], None] | None" = None

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
        self.accumulate = self.frozen = False
        self._writes = self._due = 0
        self._on_ready: Callable[[Parameter], None] | None = None

    @property
    def data(self) -> np.ndarray:
        """The values, a view of the arena's buffer once the layer is bound to one."""
        if self.on_data is not None:
            self.on_data(self)
        return self._data

    @data.setter
    def data(self, values: np.ndarray) -> None:
        self._data = values

    @property
    def grad(self) -> np.ndarray:
        """The gradient, a view of the arena's buffer."""
        if self.on_grad is not None:
            self.on_grad(self)
        return self._grad

    @grad.setter
    def grad(self, gradient: np.ndarray) -> None:
        self._grad = gradient

    def initial_values(self, rng: np.random.Generator) -> np.ndarray:
        """Return the initial values of the part that this rank holds."""
        whole = self.init(rng, self.full_shape)
        return whole if self.shard is None else self.shard.take(whole)

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


class State(Tensor):
    """A tensor that is kept but not trained (running statistics): ``data`` is a view of the arena's states."""

    def __init__(self, shape: tuple[int, ...], fill: float, *, shard: Shard | None = None):
        super().__init__(shape, shard)
        self.fill = fill

"""Split, Gather, ReduceScatter and AllGather: one dimension of an array, divided among the ranks and joined again.

Shapes: the whole array is (..., L, ...), the part of rank r (..., L_r, ...), with any lengths L_r, 0 included.
"""

from collections.abc import Callable
from typing import Any

from ...comm.group import Group
from ...comm.world import World
from ...context import Context
from ...device import Buffers
from ...layers.base import Layer, empty_gradient
from .exchange import flat_size
from .move import Length, Move, along, slices_of, total_of, with_length
from .overlapped import overlapped


class _Along(Move):
    """Base class.

    Parameters
    ----------
    group : Group or World
    dim : int
        The dimension that is divided.
    length : int or sequence of int
        Its whole length, divided as evenly as possible; or the length of each rank's part.
    gather, reduce_scatter : str
        The schedules.
    """

    def __init__(
        self,
        group: Group | World,
        dim: int,
        length: Length,
        *,
        gather: str = "all_gather/ring",
        reduce_scatter: str = "reduce_scatter/ring",
    ):
        super().__init__(group)
        self.dim, self.length = dim, length
        self._algorithms = gather, reduce_scatter
        self._slices = slices_of(length, self.group.size)
        self._lengths = tuple(part.stop - part.start for part in self._slices)

    def _part_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return with_length(shape, self.dim % len(shape), self._lengths[self.group.rank])

    def _own(self, whole: Any, buffers: Buffers, name: str) -> Any:
        """Return a copy of this rank's part."""
        self._check(whole, total_of(self.length))
        part = whole[along(self.dim % whole.ndim, self._slices[self.group.rank])]
        y = buffers.lend(self, name, part.shape, whole.dtype)
        y[...] = part
        return y

    def _whole(self, part: Any, buffers: Buffers, name: str) -> Any:
        """Return the parts of all ranks, joined."""
        rank, dim = self.group.rank, self.dim % part.ndim
        self._check(part, self._lengths[rank])
        y = buffers.lend(self, name, with_length(part.shape, dim, total_of(self.length)), part.dtype)
        places = [(r, y[along(dim, where)]) for r, where in enumerate(self._slices)]
        self.exchange.run(self._algorithms[0], self._key(y), self._counts(y), [(rank, part)], places, like=part)
        return y

    def _part_of_sum(self, whole: Any, buffers: Buffers, name: str) -> Any:
        """Return this rank's part of the sum over the ranks."""
        return self._start_part_of_sum(whole, buffers, name)()

    def _start_part_of_sum(self, whole: Any, buffers: Buffers, name: str) -> Callable[[], Any]:
        """Start the sum over the ranks, and return the function that waits for this rank's part."""
        self._check(whole, total_of(self.length))
        dim = self.dim % whole.ndim
        parts = [(r, whole[along(dim, where)]) for r, where in enumerate(self._slices)]
        how = self._algorithms[1], self._key(whole), self._counts(whole), parts
        write, shape, dtype = (
            self.exchange.start_part_of_sum(*how, like=whole),
            self._part_shape(whole.shape),
            whole.dtype,
        )

        def wait() -> Any:
            y = buffers.lend(self, name, shape, dtype)
            write(y)
            return y

        return wait

    def _key(self, whole: Any) -> tuple[Any, ...]:
        return self.dim, self._lengths, whole.shape

    def _counts(self, whole: Any) -> list[list[int]]:
        each = flat_size(with_length(whole.shape, self.dim % whole.ndim, 1))
        return [[length * each for length in self._lengths]]

    def _check(self, array: Any, length: int) -> None:
        if array.shape[self.dim] != length:
            raise ValueError(f"{self.kind}: dimension {self.dim} of {array.shape} must have the length {length}")


class Split(_Along):
    """Each rank takes its part of the same array: y = part of x; backward is Gather, dx = the parts of dy joined."""

    inputs, outputs, adjoint = "one", "parts", "Gather"

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return this rank's part of x."""
        return self._own(x, ctx, "y")

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the parts of dy of all ranks, joined."""
        return self._whole(dy, ctx.backward, "dx") if self.needs_dx else empty_gradient(dy)


class Gather(_Along):
    """All ranks get all parts, and go on alike: y = the parts of x joined; backward is Split, dx = part of dy."""

    inputs, outputs, adjoint = "parts", "one", "Split"

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this rank's part."""
        return self._part_shape(whole)

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the parts of x of all ranks, joined."""
        return self._whole(x, ctx, "y")

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return this rank's part of dy."""
        return self._own(dy, ctx.backward, "dx") if self.needs_dx else empty_gradient(dy)


class ReduceScatter(_Along):
    """Each rank gets its part of the sum: y = part of the sum of x; backward is AllGather, dx = dy joined."""

    adjoint = "AllGather"

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return this rank's part of the sum of x over the ranks."""
        return self._part_of_sum(x, ctx, "y")

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the parts of dy of all ranks, joined."""
        return self._whole(dy, ctx.backward, "dx") if self.needs_dx else empty_gradient(dy)


class AllGather(_Along):
    """All ranks get all parts, each goes on in its own way: y = the parts of x joined; backward is ReduceScatter."""

    adjoint = "ReduceScatter"

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this rank's part."""
        return self._part_shape(whole)

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the parts of x of all ranks, joined."""
        return self._whole(x, ctx, "y")

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return this rank's part of the sum of dy over the ranks."""
        return self._part_of_sum(dy, ctx.backward, "dx") if self.needs_dx else empty_gradient(dy)

    def start_backward(self, dy: Any, ctx: Context) -> Callable[[], Any]:
        """Start the sum of dy over the ranks, and return the function that waits for this rank's part of it."""
        return self._start_part_of_sum(dy, ctx.backward, "dx")

    def joined(self, above: Layer) -> Layer | None:
        """Return both in one, where the gradients of ``above`` are computed while dx is summed."""
        return overlapped(self, above)

"""The contract of a move: a layer that only communicates, whose backward is the adjoint of its forward."""

from collections.abc import Sequence
from typing import Literal

from ...comm.group import Group
from ...comm.world import World, data_group
from ...data.sampler import share
from ...layers.base import Layer
from .exchange import Exchange

Space = Literal["one", "parts"]
Length = int | Sequence[int]
"""Length of a dimension, divided as evenly as possible; or the length of each rank's part."""


class Move(Layer):
    """A linear function between the arrays of all ranks, without parameters.

    Forward takes each rank's x to its y; backward is the adjoint: <F x, dy> = <x, F* dy>, with the products summed over
    the ranks. Gradients are sums, so no move divides by a number of ranks.

    Parameters
    ----------
    group : Group or World
        The ranks of one axis.

    Attributes
    ----------
    group : Group
    exchange : Exchange
        Its planned messages.
    inputs, outputs : str
        The spaces of x and y. "parts": each rank has its own array. "one": the array is the same on all ranks, so it
        counts once in a product, and the gradient with respect to it is the whole one, the same on all ranks.
    adjoint : str
        The move that backward is.
    """

    inputs: Space = "parts"
    outputs: Space = "parts"
    adjoint = ""

    def __init__(self, group: Group | World):
        self.group = data_group(group)
        self.exchange = Exchange(self.group, self.kind)

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this rank's x, given that of the array that all ranks have together."""
        return whole

    def free(self) -> None:
        """Release its plans and their memory; all ranks call it together."""
        self.exchange.free()


def slices_of(length: Length, size: int) -> list[slice]:
    """Return the part of a dimension that each of ``size`` ranks has; of an even division the longer ones come first.

    Examples
    --------
    >>> slices_of(5, 3), slices_of([2, 0], 2)
    ([slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)], [slice(0, 2, None), slice(2, 2, None)])
    """
    if isinstance(length, int):
        return [share(length, rank, size) for rank in range(size)]
    if len(length) != size or any(part < 0 for part in length):
        raise ValueError(f"{list(length)} are not the lengths of the parts of {size} ranks")
    found, start = [], 0
    for part in length:
        found.append(slice(start, start + part))
        start += part
    return found


def total_of(length: Length) -> int:
    """Return the whole length."""
    return length if isinstance(length, int) else sum(length)


def with_length(shape: tuple[int, ...], dim: int, length: int) -> tuple[int, ...]:
    """Return ``shape`` with another length of one dimension, counted from 0."""
    return (*shape[:dim], length, *shape[dim + 1 :])


def along(dim: int, part: slice) -> tuple[slice, ...]:
    """Return the index of a part of one dimension, counted from 0."""
    return (*[slice(None)] * dim, part)

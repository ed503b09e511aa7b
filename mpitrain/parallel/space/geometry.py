"""Rows of a layer with a window: those that each rank has, computes and needs, and what local padding does.

Rank r has the rows [a, b) of x and computes the rows [o, q) of y, both divided as evenly as possible. Output j is
computed from the rows j s - p + t d, where s is the stride, p the padding, d the dilation, and t < KH counts taps.
"""

from dataclasses import replace
from typing import NamedTuple

from ...comm.group import Group
from ...ops.window import Window
from ..moves import Halo, rows_of_windows
from ..moves.move import slices_of


class Size(NamedTuple):
    """Height and width of whole images."""

    height: int
    width: int


class Geometry(NamedTuple):
    """A window over the rows of one rank.

    Attributes
    ----------
    window : Window
    height : int
        Rows of whole images.
    own : slice
        Rows of x that this rank has.
    outputs : slice
        Rows of y that it computes.
    """

    window: Window
    height: int
    own: slice
    outputs: slice

    @classmethod
    def of(cls, window: Window, size: Size, group: Group) -> "Geometry":
        """Return the geometry of this rank, for images of ``size``."""
        own = slices_of(size.height, group.size)[group.rank]
        outputs = slices_of(window.output(size)[0], group.size)[group.rank]
        return cls(window, size.height, own, outputs)

    @property
    def num_rows(self) -> int:
        """Rows of x that this rank has."""
        return int(self.own.stop - self.own.start)

    @property
    def num_outputs(self) -> int:
        """Rows of y that it computes."""
        return int(self.outputs.stop - self.outputs.start)

    @property
    def top(self) -> int:
        """Rows above the own ones that its first output needs; negative if it begins below the first of these."""
        return int(self.own.start + self.window.padding[0] - self.outputs.start * self.window.stride[0])

    @property
    def above(self) -> tuple[int, int]:
        """First of the needed rows of whole images above the own ones, and the one after the last."""
        return max(0, self.own.start - self.top), self.own.start

    @property
    def below(self) -> tuple[int, int]:
        """First of the needed rows of whole images below the own ones, and the one after the last."""
        last = (self.outputs.stop - 1) * self.window.stride[0] - self.window.padding[0] + self.window.extent(0) - 1
        return self.own.stop, min(self.height, last + 1)

    def fits(self) -> bool:
        """Return whether the own rows with ``top`` rows of padding on both sides give as many outputs."""
        padded = self.num_rows + 2 * self.top
        if self.top < 0 or not self.num_rows or padded < self.window.extent(0):
            return False
        local = replace(self.window, padding=(self.top, 0))
        return local.output((self.num_rows, self.window.extent(1)))[0] == self.num_outputs


def make_halo(window: Window, size: Size, group: Group, fill: float = 0.0) -> Halo:
    """Return the move to the rows that each rank needs for its outputs."""
    extent, stride, padding = window.extent(0), window.stride[0], window.padding[0]
    outputs = window.output(size)[0]
    rows = rows_of_windows(size.height, group.size, extent, stride, padding, outputs=outputs)
    return Halo(group, 1, size.height, rows=rows, fill=fill)

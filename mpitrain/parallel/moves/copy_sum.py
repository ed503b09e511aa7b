"""Copy and Sum: into and out of layers that compute a part of the outputs, or of the sum, on each rank."""

from typing import Any

from ...comm.group import Group
from ...comm.world import World
from ...context import Context
from ...device import Buffers
from ...layers.base import empty_gradient
from .move import Move


class _Summing(Move):
    """Base class.

    Parameters
    ----------
    group : Group or World
    algorithm : str
        An all-reduce.
    """

    def __init__(self, group: Group | World, algorithm: str = "auto"):
        super().__init__(group)
        self.algorithm = algorithm

    def _sum(self, x: Any, buffers: Buffers, name: str) -> Any:
        if self.group.size == 1:
            return x
        y = buffers.lend(self, name, x.shape, x.dtype)
        self.exchange.all_reduce(x, self.algorithm, y)
        return y


class Copy(_Summing):
    """Each rank goes on with the same x: y = x; backward is Sum, dx = the sum of dy over the ranks."""

    inputs, outputs, adjoint = "one", "parts", "Sum"

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return x."""
        return x

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the sum of dy over the ranks."""
        return self._sum(dy, ctx.backward, "dx") if self.needs_dx else empty_gradient(dy)


class Sum(_Summing):
    """All ranks get the sum of their parts: y = the sum of x over the ranks; backward is Copy, dx = dy."""

    inputs, outputs, adjoint = "parts", "one", "Copy"

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the sum of x over the ranks."""
        return self._sum(x, ctx, "y")

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return dy."""
        return dy if self.needs_dx else empty_gradient(dy)

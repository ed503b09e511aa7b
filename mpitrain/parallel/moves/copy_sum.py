"""Copy and Sum: into and out of layers that compute a part of the outputs, or of the sum, on each rank."""

from collections.abc import Callable
from typing import Any

from ...comm.group import Group
from ...comm.world import World
from ...context import Context
from ...device import Buffers
from ...layers.base import Layer, empty_gradient
from .move import Move
from .overlapped import overlapped


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
        return self._start_sum(x, buffers, name)()

    def _start_sum(self, x: Any, buffers: Buffers, name: str) -> Callable[[], Any]:
        """Start the sum of x, and return the function that waits for it."""
        write = self.exchange.start_sum(x, self.algorithm)

        def wait() -> Any:
            y = buffers.lend(self, name, x.shape, x.dtype)
            write(y)
            return y

        return wait


class Copy(_Summing):
    """Each rank goes on with the same x: y = x; backward is Sum, dx = the sum of dy over the ranks."""

    inputs, outputs, adjoint = "one", "parts", "Sum"

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return x."""
        return x

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the sum of dy over the ranks."""
        return self._sum(dy, ctx.backward, "dx") if self.needs_dx else empty_gradient(dy)

    def start_backward(self, dy: Any, ctx: Context) -> Callable[[], Any]:
        """Start the sum of dy over the ranks, and return the function that waits for it and returns it."""
        return self._start_sum(dy, ctx.backward, "dx")

    def joined(self, above: Layer) -> Layer | None:
        """Return both in one, where the gradients of ``above`` are computed while dx is summed."""
        return overlapped(self, above)


class Sum(_Summing):
    """All ranks get the sum of their parts: y = the sum of x over the ranks; backward is Copy, dx = dy."""

    inputs, outputs, adjoint = "parts", "one", "Copy"

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the sum of x over the ranks."""
        return self._sum(x, ctx, "y")

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return dy."""
        return dy if self.needs_dx else empty_gradient(dy)

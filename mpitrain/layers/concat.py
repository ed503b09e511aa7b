"""Branches side by side: layers that take the same x, whose channels are put beside each other."""

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops.elementwise import add
from .base import Layer, empty_gradient


class Concat(Layer):
    """y = (b_1(x), ..., b_n(x)): the channels of each branch after those of the one before.

    Parameters
    ----------
    *branches : Layer
        Each becomes an attribute named by its position, as in a Sequential. At least one.

    Raises
    ------
    UserError
        If the results of branches differ in more than their last dimension (in ``forward``).

    Notes
    -----
    x is (N, H, W, C) or (N, ..., C), b_i(x) (N, H', W', C_i), y (N, H', W', C_1 + ... + C_n) (Szegedy et al. 2014,
    "Going deeper with convolutions", arXiv 1409.4842, figure 2). Each branch gets a copy of its channels of dy, and dx
    is the sum of their dx. Each result is copied once, into y, and then forgotten unless its branch keeps it.
    """

    def __init__(self, *branches: Layer):
        if not branches:
            raise UserError("a Concat needs at least one branch")
        vars(self).update({str(position): branch for position, branch in enumerate(branches)})

    @property
    def branches(self) -> tuple[Layer, ...]:
        """The branches, in the order of their channels."""
        return tuple(branch for _, branch in self.children())

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the results of all branches, side by side."""
        parts = [branch.forward(x, ctx) for branch in self.branches]
        if len({part.shape[:-1] for part in parts}) > 1:
            raise UserError(f"the branches of a Concat give {', '.join(str(part.shape) for part in parts)}")
        ends = np.cumsum([0, *(part.shape[-1] for part in parts)]).tolist()
        y: np.ndarray = ctx.lend(self, "y", (*parts[0].shape[:-1], ends[-1]))
        for part, first, stop in zip(parts, ends, ends[1:], strict=False):
            y[..., first:stop] = part
        ctx[self] = ends
        return y

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of each branch."""
        self.needs_dx = needed
        for branch in self.branches:
            branch.ask_dx(needed)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the sum of the branches' dx; without ``needs_dx`` only those run that have something to train."""
        ends, dx = ctx[self], None
        for number, branch in reversed(list(enumerate(self.branches))):
            if not self.needs_dx and not branch.trains:
                continue
            shape = (*dy.shape[:-1], ends[number + 1] - ends[number])
            part: np.ndarray = ctx.backward.lend(self, f"dy {number}", shape)
            part[...] = dy[..., ends[number] : ends[number + 1]]
            of_branch = branch.backward(part, ctx)
            if dx is None or not self.needs_dx:
                dx = of_branch
            else:
                add(dx, of_branch, dx)
        return dx if self.needs_dx and dx is not None else empty_gradient(dy)

"""Layers of which each sees the results of all before it, in one array."""

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops.elementwise import add
from .base import Layer, empty_gradient


class DenseBlock(Layer):
    """x_i = (x_{i-1}, f_i(x_{i-1})) for layers f_1, ..., f_n, channels beside each other; y = x_n.

    Parameters
    ----------
    *layers : Layer
        Each becomes an attribute named by its position, as in a Sequential. What comes first in it must take pixels
        that are further apart than they have channels, as ``BatchNorm2d`` does.
    growth : int
        Channels G that each layer adds.

    Raises
    ------
    UserError
        If a layer gives anything but G channels on the pixels of x (in ``forward``).

    Notes
    -----
    x is (N, H, W, C), f_i(x_{i-1}) (N, H, W, G), y (N, H, W, C + n G) (Huang et al. 2016, "Densely connected
    convolutional networks", arXiv 1608.06993). All x_i are views of y, so that each result is copied once, however many
    layers see it; a row of SkipConcats would copy x_{i-1} for each layer and keep all of these copies. Backward adds
    what each layer returns to the channels of dy that it has seen, from the last layer to the first.
    """

    def __init__(self, *layers: Layer, growth: int):
        self.growth = growth
        vars(self).update({str(position): layer for position, layer in enumerate(layers)})

    @property
    def members(self) -> tuple[Layer, ...]:
        """The layers, in their order."""
        return tuple(layer for _, layer in self.children())

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x and the results of all layers, side by side."""
        members, channels, growth = self.members, x.shape[3], self.growth
        y: np.ndarray = ctx.lend(self, "y", (*x.shape[:3], channels + len(members) * growth))
        y[..., :channels] = x
        ctx[self] = channels
        for layer in members:
            new = layer.forward(y[..., :channels], ctx)
            if new.shape != (*x.shape[:3], growth):
                wanted = (*x.shape[:3], growth)
                raise UserError(f"a layer of a DenseBlock must give {wanted} for images {x.shape}, not {new.shape}")
            y[..., channels : channels + growth] = new
            channels += growth
        return y

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of each layer: those behind the first that is trained need dx."""
        self.needs_dx = needed
        for layer in self.members:
            layer.ask_dx(needed)
            needed = needed or layer.trains

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the first channels of dy, to which the dx of all layers are added; dy is overwritten."""
        inputs = ctx[self]
        for number, layer in reversed(list(enumerate(self.members))):
            seen = inputs + number * self.growth
            if not layer.needs_dx and not layer.trains:
                break  # nor do those before it
            new: np.ndarray = ctx.backward.lend(self, f"dy {number}", (*dy.shape[:3], self.growth))
            new[...] = dy[..., seen : seen + self.growth]
            dx = layer.backward(new, ctx)
            if layer.needs_dx:
                add(dy[..., :seen], dx, dy[..., :seen])
        if not self.needs_dx:
            return empty_gradient(dy)
        first: np.ndarray = ctx.backward.lend(self, "dx", (*dy.shape[:3], inputs))
        first[...] = dy[..., :inputs]
        return first

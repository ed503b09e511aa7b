"""Images as rows of vectors, one for each patch."""

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops.reduce import column_sum
from ..parameter import Parameter
from . import init
from .base import Layer, empty_gradient
from .linear import Linear


class PatchEmbedding(Layer):
    """y = (token, p_1 w + b, ..., p_n w + b) + positions: the first layer of a vision transformer.

    Parameters
    ----------
    image : (int, int, int)
        H, W and channels of an image.
    patch : int
        P: patches are P x P pixels, without overlap.
    size : int
        C, the size of a vector.
    std : float
        Standard deviation of the initial values of w and of the positions; b and the token begin with 0.

    Raises
    ------
    UserError
        If the image does not divide into patches.

    Notes
    -----
    x (N, H, W, channels), y (N, 1 + n, C) with n = (H / P) (W / P) patches, row by row; w (P P channels, C), positions
    (1 + n, C), token (C,) (Dosovitskiy et al. 2020, arXiv 2010.11929). The token is the same for each image; behind the
    last block it stands for the image.
    """

    def __init__(self, image: tuple[int, int, int], patch: int, size: int, std: float = 0.02):
        height, width, channels = image
        if patch < 1 or height % patch or width % patch:
            raise UserError(f"images of {height}x{width} do not divide into patches of {patch}x{patch}")
        self.patch, self.size = patch, size
        self.token = Parameter((size,), init.zeros)
        self.positions = Parameter((1 + height // patch * (width // patch), size), init.normal(std))
        self.project = Linear(patch * patch * channels, size)
        self.project.weight.init = init.normal(std)
        assert self.project.bias is not None
        self.project.bias.init = init.zeros

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the vectors of the patches, behind the token."""
        patches = self.patches_of(x)
        rows = ctx.lend(self, "patches", (len(x), len(self.positions.data) - 1, self.project.num_inputs))
        rows.reshape(patches.shape)[...] = patches
        ctx[self] = x.shape
        y: np.ndarray = ctx.lend(self, "y", (len(x), *self.positions.shape))
        np.add(self.project.forward(rows, ctx), self.positions.data[1:], out=y[:, 1:])
        y[:, 0] = self.token.data + self.positions.data[0]
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients, or put that of w off; return dx."""
        p, shape = self.positions, ctx[self]
        if not p.frozen:
            column_sum(dy.reshape(len(dy), p.size), p.grad.reshape(-1), p.accumulate)
            p.written()
        if not self.token.frozen:
            first = ctx.backward.lend(self, "first", (len(dy), self.size))
            first[...] = dy[:, 0]
            column_sum(first, self.token.grad, self.token.accumulate)
            self.token.written()
        if not self.needs_dx and not self.project.trains:
            return empty_gradient(dy)
        rest = ctx.backward.lend(self, "rest", (len(dy), dy.shape[1] - 1, self.size))
        rest[...] = dy[:, 1:]
        self.project.needs_dx = self.needs_dx
        rows = self.project.backward(rest, ctx)
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", shape)
        places = self.patches_of(dx)
        places[...] = rows.reshape(places.shape)
        return dx

    def patches_of(self, x: np.ndarray) -> np.ndarray:
        """Return the view (N, H / P, W / P, P, P, channels)."""
        n, height, width, channels = x.shape
        patch = self.patch
        cut = x.reshape(n, height // patch, patch, width // patch, patch, channels)
        return cut.transpose(0, 1, 3, 2, 4, 5)

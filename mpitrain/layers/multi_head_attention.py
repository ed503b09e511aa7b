"""Attention of a sequence to itself, in several heads."""

import math

import numpy as np

from .. import ops
from ..errors import UserError
from ..saved import Saved
from .base import Layer
from .linear import Linear


class MultiHeadAttention(Layer):
    """y = heads w_out + b_out, head h = softmax(q_h k_h^T / sqrt(D)) v_h, (q, k, v) = x w_qkv + b_qkv.

    Parameters
    ----------
    size : int
        C, of each token, and of each result.
    num_heads : int
        H, a divisor of C; D = C / H.
    causal : bool
        Whether a token sees only itself and those before it.
    bias : bool

    Raises
    ------
    UserError
        If the heads do not divide the size, or (in ``forward``) x is not (N, T, C).

    Notes
    -----
    x is (N, T, C), y alike (Vaswani et al. 2017, arXiv 1706.03762). ``qkv`` is one Linear of 3 C outputs, in the order
    q, k, v, each with its heads side by side. Heads are views of what it wrote, and dq, dk, dv of what its backward
    takes: nothing is copied or turned between the products.
    """

    def __init__(self, size: int, num_heads: int, causal: bool = False, bias: bool = True):
        if num_heads < 1 or size % num_heads:
            raise UserError(f"a size of {size} does not divide into {num_heads} heads")
        self.size, self.num_heads, self.causal = size, num_heads, causal
        self.scale = 1 / math.sqrt(size // num_heads)
        self.qkv = Linear(size, 3 * size, bias)
        self.out = Linear(size, size, bias)

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return what each token finds in the tokens that it sees."""
        if x.ndim != 3 or x.shape[2] != self.size:
            raise UserError(f"a MultiHeadAttention of size {self.size} wants (N, T, {self.size}), not {x.shape}")
        n, length, _ = x.shape
        qkv = self.qkv.forward(x, saved)
        y = saved.empty(self, "y", x.shape)
        logs = saved.empty(self, "logs", (n, self.num_heads, length))
        (q, k, v), (heads,) = self._heads(qkv), self._heads(y)
        ops.attention(q, k, v, heads, logs, self.scale, self.causal, None, saved.scratch)
        saved[self] = qkv, logs
        return self.out.forward(y, saved)

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Write the gradients of both Linears, return dx."""
        qkv, logs = saved[self]
        (slopes,) = self._heads(self.out.backward(dy, saved))
        dqkv = saved.empty(self, "dqkv", qkv.shape)
        (q, k, v), (dq, dk, dv) = self._heads(qkv), self._heads(dqkv)
        ops.attention_dx(slopes, q, k, v, logs, dq, dk, dv, self.scale, self.causal, None, saved.scratch)
        self.qkv.needs_dx = self.needs_dx
        return self.qkv.backward(dqkv, saved)

    def _heads(self, tokens: np.ndarray) -> np.ndarray:
        """Return views (1 or 3, N, H, T, D) of (N, T, C) or (N, T, 3 C)."""
        n, length, width = tokens.shape
        parts = tokens.reshape(n, length, width // self.size, self.num_heads, self.size // self.num_heads)
        return parts.transpose(2, 0, 3, 1, 4)

"""Self-attention with several heads."""

import math

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops.attention import attention, attention_dx
from .base import Layer
from .linear import Linear


class MultiHeadAttention(Layer):
    """y = heads w_out + b_out, head h = softmax(q_h k_h^T / sqrt(D)) v_h, (q, k, v) = x w_qkv + b_qkv.

    Parameters
    ----------
    size : int
        C, the size of each token and of each result.
    num_heads : int
        H, a divisor of C; D = C / H.
    causal : bool
        Whether a token depends only on itself and those before it.
    bias : bool

    Raises
    ------
    UserError
        If the heads do not divide the size, or (in ``forward``) x is not (N, T, C).

    Notes
    -----
    x and y are (N, T, C) (Vaswani et al. 2017, arXiv 1706.03762). ``qkv`` is one Linear of 3 C outputs, in the order
    q, k, v, each with its heads side by side. Heads are views of its output, and dq, dk, dv views of the input of its
    backward: nothing is copied or transposed between the products.
    """

    def __init__(self, size: int, num_heads: int, causal: bool = False, bias: bool = True):
        if num_heads < 1 or size % num_heads:
            raise UserError(f"a size of {size} does not divide into {num_heads} heads")
        self.size, self.num_heads, self.causal = size, num_heads, causal
        self.scale = 1 / math.sqrt(size // num_heads)
        self.qkv = Linear(size, 3 * size, bias)
        self.out = Linear(size, size, bias)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the attention output of each token."""
        if x.ndim != 3 or x.shape[2] != self.size:
            raise UserError(f"a MultiHeadAttention of size {self.size} expects (N, T, {self.size}), not {x.shape}")
        n, length, _ = x.shape
        qkv = self.qkv.forward(x, ctx)
        y = ctx.empty(self, "y", x.shape)
        log_sum_exp = ctx.empty(self, "log_sum_exp", (n, self.num_heads, length))
        (q, k, v), (heads,) = self._heads(qkv), self._heads(y)
        attention(q, k, v, heads, log_sum_exp, self.scale, self.causal, None)
        ctx[self] = qkv, log_sum_exp
        return self.out.forward(y, ctx)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of both Linears, or put them off; return dx."""
        qkv, log_sum_exp = ctx[self]
        (dheads,) = self._heads(self.out.backward(dy, ctx))
        dqkv = ctx.backward.empty(self, "dqkv", qkv.shape)
        (q, k, v), (dq, dk, dv) = self._heads(qkv), self._heads(dqkv)
        attention_dx(dheads, q, k, v, log_sum_exp, dq, dk, dv, self.scale, self.causal, None)
        self.qkv.needs_dx = self.needs_dx
        return self.qkv.backward(dqkv, ctx)

    def _heads(self, tokens: np.ndarray) -> np.ndarray:
        """Return views (1 or 3, N, H, T, D) of (N, T, C) or (N, T, 3 C)."""
        n, length, width = tokens.shape
        parts = tokens.reshape(n, length, width // self.size, self.num_heads, self.size // self.num_heads)
        return parts.transpose(2, 0, 3, 1, 4)

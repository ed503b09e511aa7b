"""Self-attention with several heads."""

import math
from copy import copy
from functools import lru_cache

import numpy as np

from ..context import Context
from ..device import Device
from ..errors import UserError
from ..key_value_cache import KeyValueCache
from ..ops.attention import Block, attention, attention_dx
from ..ops.dropout import Masks
from ..ops.rotary import positions_needed, rotary, rotary_table
from ..parameter import Shard
from .base import Layer
from .dropout import probability
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
    num_kv_heads : int, optional
        Hk, a divisor of H: H / Hk heads that follow each other share one head of keys and values (Ainslie et al. 2023,
        arXiv 2305.13245). H by default; 1 is multi-query attention.
    rotary : float, optional
        The base of rotary positions, by which q and k turn (``ops/rotary.py``); 10000 in the first Llama models. None
        by default: the layer does not know the order of the tokens, but for ``causal``.
    dropout : float
        The part of the probabilities that is dropped in training.

    Attributes
    ----------
    number : int
        Its position among the layers of the network that draw masks (set by ``models.prepare``).
    place : (int, int)
        Its first head among those of the whole layer, and the number of these.

    Raises
    ------
    UserError
        If the heads do not divide the size, or the heads of keys and values the heads, if heads of an odd size are to
        turn, if dropout is not a probability below 1, or (in ``forward``) x is not (N, T, C).

    Notes
    -----
    x and y are (N, T, C) (Vaswani et al. 2017, arXiv 1706.03762). ``ctx.tokens`` says which tokens are padding (they
    are not seen), which sequences are packed into a row (they do not see each other), and the positions of tokens.

    ``qkv`` is one Linear of (H + 2 Hk) D outputs, in the order q, k, v, each with its heads side by side. Heads are
    views of its output, and dq, dk, dv views of the input of its backward: nothing is copied or transposed between the
    products. With ``ctx.cache`` x continues the rows read before, whose keys and values are there, and there is no
    backward.
    """

    def __init__(
        self,
        size: int,
        num_heads: int,
        causal: bool = False,
        bias: bool = True,
        *,
        num_kv_heads: int | None = None,
        rotary: float | None = None,
        dropout: float = 0.0,
    ):
        if num_heads < 1 or size % num_heads:
            raise UserError(f"a size of {size} does not divide into {num_heads} heads")
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise UserError(f"{num_heads} heads do not divide into {num_kv_heads} groups that share keys and values")
        self.size, self.num_heads, self.num_kv_heads, self.causal = size, num_heads, num_kv_heads, causal
        self.head_size, self.rotary = size // num_heads, rotary
        if rotary is not None and self.head_size % 2:
            raise UserError(f"heads of {self.head_size} numbers do not turn: rotary positions are of pairs")
        self.dropout, self.number = probability(dropout), 0
        self.place = 0, num_heads
        self.scale = 1 / math.sqrt(self.head_size)
        self.qkv = Linear(size, (num_heads + 2 * num_kv_heads) * self.head_size, bias)
        keys = num_kv_heads * self.head_size
        self.qkv.parts = ("q", size), ("k", keys), ("v", keys)
        self.out = Linear(size, size, bias)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the attention output of each token."""
        if x.ndim != 3 or x.shape[2] != self.size:
            raise UserError(f"a MultiHeadAttention of size {self.size} expects (N, T, {self.size}), not {x.shape}")
        qkv = self.qkv.forward(x, ctx)
        n, length, _ = qkv.shape
        before = 0 if ctx.cache is None else ctx.cache.length
        self._turn(qkv, ctx, ctx.tokens.positions, before, back=False)
        q, k, v = self._parts(qkv)
        if ctx.cache is not None:
            k, v = self._with_cached(k, v, ctx.cache)
        y = ctx.lend(self, "y", (n, length, self.num_heads * self.head_size))
        log_sum_exp = ctx.empty(self, "log_sum_exp", (n, self.num_heads, length), ctx.sum_dtype)
        tokens, masks = ctx.tokens, None
        if ctx.training and self.dropout:
            masks = Masks(self.dropout, (ctx.seed, self.number, ctx.step, ctx.first), ctx.counters)
        how = tokens.lengths, tokens.segments, masks, self._block(length, k.shape[2])
        attention(q, k, v, self._heads(y), log_sum_exp, self.scale, self.causal, *how)
        ctx[self] = qkv, log_sum_exp, tokens.positions, how, y
        return self.out.forward(y, ctx)

    def part(self, first: int, stop: int, axis: str = "") -> "MultiHeadAttention":
        """Return the layer of heads of keys and values from ``first`` up to ``stop``, and of those that read them.

        The sum of the results of all parts, and of the bias of ``out``, which they do not have, is that of this layer.
        Their parameters are parts of those of this layer, with the initial values that they have there.
        """
        group, width = self.num_heads // self.num_kv_heads, self.head_size
        keys, values = self.num_heads, self.num_heads + self.num_kv_heads
        heads = (
            (group * first, group * stop),
            (keys + first, keys + stop),
            (values + first, values + stop),
        )
        ranges = tuple((start * width, end * width) for start, end in heads)
        made = copy(self)
        made.num_heads, made.num_kv_heads = group * (stop - first), stop - first
        made.place = self.place[0] + group * first, self.place[1]
        made.qkv, made.out = self.qkv.part(Shard(1, ranges, axis)), self.out.part(Shard(0, ranges[:1], axis))
        made.qkv.parts = tuple(
            (name, end - start) for (name, _), (start, end) in zip(self.qkv.parts, ranges, strict=True)
        )
        return made

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of both Linears."""
        self.needs_dx = needed
        self.qkv.ask_dx(needed)
        self.out.ask_dx(needed or self.qkv.trains)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of both Linears, or put them off; return dx."""
        qkv, log_sum_exp, positions, how, y = ctx[self]
        dy = self.out.backward(dy, ctx)
        if not self.out.needs_dx:
            return dy
        dheads = self._heads(dy)
        dqkv = ctx.backward.lend(self, "dqkv", qkv.shape)
        parts = *self._parts(qkv), log_sum_exp, *self._parts(dqkv)
        how = *how, None, self._heads(y)
        attention_dx(dheads, *parts, self.scale, self.causal, *how)
        self._turn(dqkv, ctx, positions, 0, back=True)
        self.qkv.needs_dx = self.needs_dx
        return self.qkv.backward(dqkv, ctx)

    def _block(self, num_queries: int, num_keys: int) -> Block | None:
        """Return where the heads are among those of the whole layer, for their masks; None for all of them."""
        return None if self.place == (0, self.num_heads) else Block(num_keys - num_queries, 0, num_keys, *self.place)

    def _heads(self, tokens: np.ndarray) -> np.ndarray:
        """Return the view (N, heads, T, D) of (N, T, heads D)."""
        n, length, width = tokens.shape
        heads: np.ndarray = tokens.reshape(n, length, width // self.head_size, self.head_size).swapaxes(1, 2)
        return heads

    def _parts(self, qkv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return views (N, H, T, D), (N, Hk, T, D) and (N, Hk, T, D)."""
        heads, first, second = self._heads(qkv), self.num_heads, self.num_heads + self.num_kv_heads
        return heads[:, :first], heads[:, first:second], heads[:, second:]

    def _with_cached(self, k: np.ndarray, v: np.ndarray, cache: KeyValueCache) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys and values of all tokens so far, (N, Hk, T, D) with those of the piece at the end."""
        if not self.causal:
            raise UserError("a MultiHeadAttention that is not causal has no cache: its tokens see those to come")
        return cache.append(self, "k", k), cache.append(self, "v", v)

    def _turn(self, qkv: np.ndarray, ctx: Context, positions: np.ndarray | None, before: int, *, back: bool) -> None:
        """Turn q and k, or their gradients back, by the positions of the tokens; ``before`` tokens lie before them."""
        if self.rotary is None:
            return
        turning = self._heads(qkv)[:, : self.num_heads + self.num_kv_heads]
        needed = positions_needed(positions, before + qkv.shape[1])
        table = table_of_positions(ctx.device, ctx.sum_dtype, needed, self.head_size, self.rotary)
        rotary(turning, table, positions, before, back)


def table_of_positions(device: Device, dtype: np.dtype, needed: int, size: int, base: float) -> np.ndarray:
    """Return a table of so many rotary positions, or of more, on a device: one for all layers of a model."""
    return _table(device, dtype, 1 << max(0, needed - 1).bit_length(), size, base)  # few, of twice the size each


@lru_cache(maxsize=32)
def _table(device: Device, dtype: np.dtype, num_positions: int, size: int, base: float) -> np.ndarray:
    table: np.ndarray = device.from_host(rotary_table(num_positions, size, base).astype(dtype))
    return table

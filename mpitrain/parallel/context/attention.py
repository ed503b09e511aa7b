"""Attention whose tokens are divided among ranks: its products token by token, between them one of two cores."""

from collections.abc import Iterator
from typing import Any

from ...context import Context
from ...layers import Layer, MultiHeadAttention


class ContextAttention(Layer):
    """y = core(x w_qkv + b_qkv) w_out + b_out, with the parameters of a MultiHeadAttention under their names.

    Parameters
    ----------
    attention : MultiHeadAttention
        The layer, or the part of it that axis tensor has left.
    core : Layer
        (N, T_r, (H + 2 Hk) D) -> (N, T_r, H D): ``Ulysses`` or ``RingAttention``.
    """

    def __init__(self, attention: MultiHeadAttention, core: Layer):
        self.attention, self.core = attention, core

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the attention output of each token of this rank."""
        return self.attention.out.forward(self.core.forward(self.attention.qkv.forward(x, ctx), ctx), ctx)

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of both Linears."""
        self.needs_dx = needed
        self.attention.ask_dx(needed)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write the gradients of both Linears, or put them off; return dx."""
        dy = self.attention.out.backward(dy, ctx)
        if not self.attention.out.needs_dx:
            return dy
        return self.attention.qkv.backward(self.core.backward(dy, ctx), ctx)

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield (dotted name, layer) of what runs."""
        yield from self.attention.qkv.running(f"{prefix}qkv.")
        yield f"{prefix}core", self.core
        yield from self.attention.out.running(f"{prefix}out.")

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        yield from self.attention._named(prefix, kind)

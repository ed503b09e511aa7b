"""Heads of attention as the divided ways to compute it need them: sizes, views, positions, masks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...context import Context
from ...device import Buffers
from ...layers import MultiHeadAttention
from ...layers.multi_head_attention import table_of_positions
from ...ops.convert import convert
from ...ops.dropout import Masks
from ...ops.rotary import positions_needed, rotary


class Heads(NamedTuple):
    """Heads of a ``MultiHeadAttention``: their numbers and sizes, and how they see.

    Attributes
    ----------
    num_heads, num_kv_heads, size : int
        H, Hk and D.
    causal : bool
    scale : float
    rotary : float or None
    dropout : float
    number : int
        Of the masks.
    first, total : int
        The first head among those of the whole layer, and the number of these.
    """

    num_heads: int
    num_kv_heads: int
    size: int
    causal: bool
    scale: float
    rotary: float | None
    dropout: float
    number: int
    first: int
    total: int

    @classmethod
    def of(cls, layer: MultiHeadAttention) -> "Heads":
        """Return those of a layer, which may be a part of a larger one (``MultiHeadAttention.place``)."""
        place = getattr(layer, "place", (0, layer.num_heads))
        sizes = layer.num_heads, layer.num_kv_heads, layer.head_size
        return cls(*sizes, layer.causal, layer.scale, layer.rotary, layer.dropout, layer.number, *place)

    def split(self, qkv: Any) -> tuple[Any, Any, Any]:
        """Return q (N, H, T, D), k and v (N, Hk, T, D), views of qkv (N, T, (H + 2 Hk) D)."""
        heads, first, second = by_heads(qkv, self.size), self.num_heads, self.num_heads + self.num_kv_heads
        return heads[:, :first], heads[:, first:second], heads[:, second:]

    def masks(self, ctx: Context) -> Masks | None:
        """Return the masks of this step."""
        if not ctx.training or not self.dropout:
            return None
        return Masks(self.dropout, (ctx.seed, self.number, ctx.step, ctx.first), ctx.counters)

    def turn(
        self,
        qkv: Any,
        ctx: Context,
        positions: Any,
        runs: Sequence[tuple[slice, int]],
        length: int,
        *,
        back: bool,
    ) -> None:
        """Turn q and k, or their gradients back, by the positions of the tokens.

        Parameters
        ----------
        qkv : array (N, T_r, (H + 2 Hk) D)
        positions : (N, T_r) array, or None
        runs : sequence of (slice, int)
            Where there are no positions: neighbors among the tokens, and the number of the first one in its row.
        length : int
            Tokens of a row.
        """
        if self.rotary is None:
            return
        turning = by_heads(qkv, self.size)[:, : self.num_heads + self.num_kv_heads]
        needed = positions_needed(positions, length)
        table = table_of_positions(ctx.device, ctx.sum_dtype, needed, self.size, self.rotary)
        if positions is not None:
            rotary(turning, table, positions, 0, back)
            return
        for own, start in runs:
            rotary(turning[:, :, own], table, None, start, back)


def rounded(sums: Any, buffers: Buffers, owner: object, name: str, dtype: Any) -> Any:
    """Return sums in the type of activations: as they are, or rounded in memory of ``buffers``."""
    if sums.dtype == dtype:
        return sums
    y = buffers.lend(owner, name, sums.shape, dtype)
    convert(sums, y)
    return y


def by_heads(tokens: Any, size: int) -> Any:
    """Return the view (N, heads, T, D) of (N, T, heads D)."""
    n, length, width = tokens.shape
    return tokens.reshape(n, length, width // size, size).swapaxes(1, 2)

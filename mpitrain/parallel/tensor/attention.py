"""Attention divided by heads."""

from ...comm.group import Group
from ...layers import MultiHeadAttention
from .cut import AXIS, Cut
from .divided import Divided
from .products import Ends, bias_of, sum_adapters


def attention(layer: MultiHeadAttention, group: Group, ends: Ends) -> MultiHeadAttention:
    """Return ``layer`` with this rank's heads: its queries, keys and values are a column, and what follows a row.

    Heads of keys and values are divided as evenly as possible, with the heads that read them (Shoeybi et al. 2019,
    arXiv 1909.08053). Messages: y is summed in forward, dx in backward, by the moves ``ends``.
    """
    ((first, stop),) = Cut.even(layer.num_kv_heads, group.size).parts[group.rank]
    part = layer.part(first, stop, AXIS)
    for product in (part.qkv, part.out):
        sum_adapters(product, group)
    part.replace("qkv", Divided(ends.enter(), part.qkv))
    part.replace("out", Divided(part.out, ends.leave(), *bias_of(layer.out.bias)))
    return part

"""Attention divided by heads."""

from ...comm.group import Group
from ...layers import MultiHeadAttention
from ..moves import Copy, Sum
from .cut import AXIS, Cut
from .divided import Divided
from .products import bias_of


def attention(layer: MultiHeadAttention, group: Group) -> MultiHeadAttention:
    """Return ``layer`` with this rank's heads: its queries, keys and values are a column, and what follows a row.

    Heads of keys and values are divided as evenly as possible, with the heads that read them (Shoeybi et al. 2019,
    arXiv 1909.08053). Messages: y is summed in forward, dx in backward.
    """
    ((first, stop),) = Cut.even(layer.num_kv_heads, group.size).parts[group.rank]
    part = layer.part(first, stop, AXIS)
    part.replace("qkv", Divided(Copy(group), part.qkv))
    part.replace("out", Divided(part.out, Sum(group), *bias_of(layer.out.bias)))
    return part

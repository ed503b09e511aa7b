"""Chains: layers with weights and the activations between them, each pair a link that knows the one below."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..activations import GELU, ReLU
from ..base import Layer
from ..batchnorm2d import BatchNorm2d
from ..conv2d import Conv2d
from ..linear import Linear
from .base import Fused
from .conv_chain import ConvLink
from .linear_chain import LinearLink

Pair = tuple[Layer, Layer | None]


class Kind(NamedTuple):
    """The links of layers of one type.

    Attributes
    ----------
    link : callable(layer, activation, link below, top)
    activations : tuple of type
        Those that a link computes.
    not_before : tuple of type
        A layer right below one of these is no part of a chain.
    """

    link: Callable[..., Fused]
    activations: tuple[type, ...]
    not_before: tuple[type, ...] = ()


KINDS: dict[type, Kind] = {
    Linear: Kind(LinearLink, (ReLU, GELU)),
    Conv2d: Kind(ConvLink, (ReLU,), (BatchNorm2d,)),
}


def chain_of(row: Sequence[Layer]) -> list[Pair]:
    """Return the chain with which ``row`` begins, as pairs (layer, activation); empty if there is none.

    Only the last pair may have no activation, and none has one by itself.
    """
    kind = KINDS.get(type(row[0]))
    pairs: list[Pair] = []
    for i in range(0, len(row), 2):
        after = type(row[i + 1]) if i + 1 < len(row) else None
        if kind is None or type(row[i]) is not type(row[0]) or after in kind.not_before:
            break
        pairs.append((row[i], row[i + 1] if after in kind.activations else None))
        if pairs[-1][1] is None:
            break
    return pairs if pairs and pairs[0][1] is not None else []


def make_chain(pairs: Sequence[Pair]) -> list[Fused]:
    """Return the links of a chain."""
    links: list[Any] = []
    for i, (layer, activation) in enumerate(pairs):
        make = KINDS[type(layer)].link
        links.append(make(layer, activation, links[-1] if links else None, top=i == len(pairs) - 1))
    return links

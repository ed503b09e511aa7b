"""Runs of layers of a Sequential that ranks can divide: products with layers between that take each feature alone.

In a pair of products the first is divided by its outputs (a column) and the second by its inputs (a row), so that what
lies between stays divided: one sum in forward, after the row, and one in backward, before the column.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

from ...comm.group import Group
from ...layers import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    LoRALinear,
    MaxPool2d,
    ReLU,
    Sigmoid,
    SiLU,
    SwiGLU,
    Tanh,
)
from ...parameter import Shard
from .cut import Cut
from .products import Ends, Product, column, num_inputs, num_outputs, row

SAME: tuple[type[Layer], ...] = (ReLU, Tanh, Sigmoid, SiLU, GELU, MaxPool2d, AvgPool2d, GlobalAvgPool)
"""Layers that compute each feature or channel from its own, with nothing that depends on its number."""

LEFT_OVER = 1 / 8
"""Part of the weights of a chain that one product may have and stay whole, in a chain of an odd number of them."""

Role = Literal["column", "middle", "row"]


class Run(NamedTuple):
    """Layers from ``first`` up to ``last``, both products; ``roles`` are those of the products by their places."""

    first: int
    last: int
    roles: dict[int, Role]


def find_runs(layers: Sequence[Layer], size: int) -> list[Run]:
    """Return the runs of layers of a Sequential that ``size`` ranks can divide."""
    return [run for chain in _chains(layers) for run in _runs(layers, chain) if narrowest(layers, run) >= size]


def widest(layers: Sequence[Layer]) -> int:
    """Return the most ranks that can divide a run of the layers; 0 if there is none."""
    runs = (run for chain in _chains(layers) for run in _runs(layers, chain))
    return max((narrowest(layers, run) for run in runs), default=0)


def narrowest(layers: Sequence[Layer], run: Run) -> int:
    """Return the fewest features that the ranks divide in a run."""
    return min(_width(layers, place) for place, role in run.roles.items() if role != "row")


def divide_run(layers: Sequence[Layer], run: Run, group: Group, ends: Ends) -> Iterator[tuple[int, Layer]]:
    """Yield (place, layer) of the layers that take the places of those of a run, between the moves ``ends``."""
    cut: Cut | None = None
    for place in range(run.first, run.last + 1):
        layer, role = layers[place], run.roles.get(place)
        if role == "row":
            assert isinstance(layer, Linear | Conv2d)
            assert cut is not None
            yield place, row(layer, cut, group, ends)
        elif role is not None:
            assert isinstance(layer, Linear | Conv2d)
            made = _outputs(layers, place, group.size)
            yield place, column(layer, made, group, ends, cut)
            cut = made
        elif cut is not None:
            cut, layer = _between(layers, place, cut, group.rank)
            yield place, layer


def is_product(layer: Layer) -> bool:
    """Return whether ``layer`` multiplies all its inputs by a matrix."""
    return type(layer) in (Linear, LoRALinear) or (type(layer) is Conv2d and layer.groups == 1)


def _passes(layer: Layer) -> bool:
    return type(layer) in (*SAME, BatchNorm2d, Dropout, Flatten, SwiGLU) or (
        type(layer) is Conv2d and layer.groups > 1 and layer.is_depthwise
    )


def _chains(layers: Sequence[Layer]) -> Iterator[list[int]]:
    """Yield the places of products between which all layers take each feature alone."""
    chain: list[int] = []
    for place, layer in enumerate(layers):
        if is_product(layer):
            chain.append(place)
        elif not _passes(layer):
            yield chain
            chain = []
    yield chain


def _runs(layers: Sequence[Layer], chain: Sequence[int]) -> list[Run]:
    """Return pairs of products; of an odd number, the smallest stays whole, or three are divided together."""
    if len(chain) < 2:
        return []
    pairs = list(chain)
    if len(chain) % 2:
        sizes = [layers[place].weight.size for place in chain]  # type: ignore[attr-defined]
        alone = min(range(0, len(chain), 2), key=lambda i: sizes[i])
        if sizes[alone] > LEFT_OVER * sum(sizes) and _outputs(layers, chain[-3], 1).is_in_order:
            first, middle, last = chain[-3:]
            three = Run(first, last, {first: "column", middle: "middle", last: "row"})
            return [*_in_pairs(chain[:-3]), three]
        del pairs[alone]
    return _in_pairs(pairs)


def _in_pairs(places: Sequence[int]) -> list[Run]:
    pairs = zip(places[::2], places[1::2], strict=True)
    return [Run(first, second, {first: "column", second: "row"}) for first, second in pairs]


def _next_product(layers: Sequence[Layer], place: int) -> int:
    return next(i for i in range(place + 1, len(layers)) if is_product(layers[i]))


def _groups(layers: Sequence[Layer], place: int) -> int:
    """Return 2 for a product whose outputs are the two halves of a SwiGLU, which are cut alike."""
    return 2 if any(type(layer) is SwiGLU for layer in layers[place + 1 : _next_product(layers, place)]) else 1


def _width(layers: Sequence[Layer], place: int) -> int:
    layer = layers[place]
    assert isinstance(layer, Linear | Conv2d)
    return num_outputs(layer) // _groups(layers, place)


def _outputs(layers: Sequence[Layer], place: int, size: int) -> Cut:
    layer = layers[place]
    assert isinstance(layer, Linear | Conv2d)
    return Cut.even(num_outputs(layer), size, _groups(layers, place))


def _place(shard: Shard, length: int) -> tuple[Shard, int]:
    return shard, length


def _between(layers: Sequence[Layer], place: int, cut: Cut, rank: int) -> tuple[Cut, Layer]:
    """Return the cut of the results of a layer between products, and the layer of this rank's part."""
    layer = layers[place]
    if isinstance(layer, BatchNorm2d):
        return cut, layer.part(cut.shard(0, rank))
    if isinstance(layer, Conv2d):
        return cut, layer.part(cut.shard(3, rank))
    if isinstance(layer, Dropout):
        return cut, layer.part(partial(_place, cut.shard(-1, rank), cut.length))
    if isinstance(layer, SwiGLU):
        return cut.folded(2), layer
    if isinstance(layer, Flatten):
        after: Product = layers[_next_product(layers, place)]  # type: ignore[assignment]
        return cut.repeated(num_inputs(after) // cut.length), layer
    return cut, layer

"""Rules for the costs of layers of images (``flow``)."""

import math

from ..layers import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    DenseBlock,
    GlobalAvgPool,
    MaxPool2d,
    SkipConcat,
)
from ..ops.window import Window
from ..planning.units import Product
from .flow import Costs, Value, flow


def windows(window: Window, x: Value, channels: int, costs: Costs) -> Value:
    """Return images made by a window, and note the rows that it needs from neighbors on axis space."""
    height, width, before = x.shape
    y = Value((*window.output((height, width)), channels), costs)
    reach = window.dilation[0] * (window.kernel[0] - 1) // 2
    if reach:
        costs.halos.append(float(reach * width * before))
    costs.heights.append(max(1, y.shape[0] // max(1, reach)))
    return y


@flow.register
def _(layer: Conv2d, x: Value, costs: Costs) -> Value:
    y = windows(layer.window, x, layer.out_channels, costs)
    inputs = math.prod(layer.window.kernel) * layer.in_channels // layer.groups
    rows = y.shape[0] * y.shape[1]
    costs.products.append(Product(rows, inputs, layer.out_channels // layer.groups, layer.groups))
    costs.own(layer)
    costs.move(x.size, False)
    x.keep()
    costs.uses(x, y)
    return y


@flow.register
def _(layer: BatchNorm2d, x: Value, costs: Costs) -> Value:
    x.keep()
    costs.own(layer)
    costs.add("statistics", 1)
    costs.move(3 * x.size, False)
    y = Value(x.shape, costs)
    costs.uses(x, y)
    return y


@flow.register(MaxPool2d)
@flow.register(AvgPool2d)
def _(layer: MaxPool2d | AvgPool2d, x: Value, costs: Costs) -> Value:
    y = windows(layer.window, x, x.shape[2], costs)
    costs.keep(y.size / 4 if isinstance(layer, MaxPool2d) else 0.0, False)  # a byte for each
    costs.move(x.size + y.size, False)
    costs.uses(x, y)
    return y


@flow.register
def _(layer: GlobalAvgPool, x: Value, costs: Costs) -> Value:
    costs.move(x.size, False)
    y = Value((x.shape[-1],), costs)
    costs.uses(x, y)
    return y


@flow.register
def _(layer: ConvTranspose2d, x: Value, costs: Costs) -> Value:
    y = Value((*layer.output((x.shape[0], x.shape[1])), layer.out_channels), costs)
    taps = math.prod(layer.window.kernel)
    costs.products.append(Product(x.shape[0] * x.shape[1], layer.in_channels, taps * layer.out_channels))
    costs.halos.append(float(x.shape[1] * x.shape[2]))
    costs.heights.append(x.shape[0])
    costs.own(layer)
    costs.move(y.size, False)
    x.keep()
    costs.uses(x, y)
    return y


@flow.register
def _(layer: Concat, x: Value, costs: Costs) -> Value:
    parts = [flow(branch, x, costs) for branch in layer.branches]
    y = Value((*parts[0].shape[:-1], sum(part.shape[-1] for part in parts)), costs)
    costs.move(2 * y.size, False)
    costs.add("in_turn", (len(parts) > 1) * x.size)  # the sum of dx, and the dx to be added
    costs.uses(x, y)
    return y


@flow.register
def _(layer: DenseBlock, x: Value, costs: Costs) -> Value:
    pixels, channels = x.shape[:-1], x.shape[-1]
    y = Value((*pixels, channels + len(layer.members) * layer.growth), costs)
    y.keep()
    costs.move(2 * x.size, False)
    for number, member in enumerate(layer.members):
        seen = Value((*pixels, channels + number * layer.growth), costs, is_kept=True)  # a view of y
        new = flow(member, seen, costs)
        costs.move(2 * new.size + 3 * seen.size, False)  # copied into y; dx is added to dy
    costs.uses(x, y)
    return y


@flow.register
def _(layer: SkipConcat, x: Value, costs: Costs) -> Value:
    inner = flow(layer.inner, x, costs)
    y = Value((*x.shape[:-1], x.shape[-1] + inner.shape[-1]), costs)
    costs.move(2 * y.size, False)
    costs.uses(x, y)
    return y

"""Rules for layers of images, which the graph has as (N, C, H, W) between convolutions."""

from typing import Any

from ...layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    PatchEmbedding,
)
from ...ops.window import Window
from .graph import Graph, Value
from .rows import dense
from .rules import rule

KERNEL_LAST = (3, 2, 0, 1)  # (KH, KW, C, O) to (O, C, KH, KW)


def _windows(window: Window, size: tuple[int, ...]) -> dict[str, Any]:
    """Return the attributes of a window over images of ``size``; what it needs beyond them is padding."""
    (top, left), (height, width) = window.padding, window.padded((size[0], size[1]))
    pads = [top, left, height - size[0] - top, width - size[1] - left]
    return {"kernel_shape": list(window.kernel), "strides": list(window.stride), "pads": pads}


@rule(Conv2d)
def _(layer: Conv2d, x: Value, graph: Graph) -> Value:
    weights = [graph.weight(layer.weight, KERNEL_LAST)]
    if layer.bias is not None:
        weights.append(graph.weight(layer.bias))
    how = _windows(layer.window, x.shape)
    dilations = list(layer.window.dilation)
    y = graph.add("Conv", graph.to_channels_first(x).name, *weights, dilations=dilations, group=layer.groups, **how)
    return Value(y, (*layer.window.output((x.shape[0], x.shape[1])), layer.out_channels), True)


@rule(ConvTranspose2d)
def _(layer: ConvTranspose2d, x: Value, graph: Graph) -> Value:
    weights = [graph.weight(layer.weight, KERNEL_LAST)]  # (KH, KW, O, C) to (C, O, KH, KW)
    if layer.bias is not None:
        weights.append(graph.weight(layer.bias))
    window = layer.window
    how: dict[str, Any] = {
        "kernel_shape": list(window.kernel),
        "strides": list(window.stride),
        "pads": [*window.padding] * 2,
    }
    y = graph.add("ConvTranspose", graph.to_channels_first(x).name, *weights, **how)
    return Value(y, (*layer.output((x.shape[0], x.shape[1])), layer.out_channels), True)


@rule(BatchNorm2d)
def _(layer: BatchNorm2d, x: Value, graph: Graph) -> Value:
    x = graph.to_channels_first(x)
    tensors = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    weights = [graph.weight(tensor) for tensor in tensors]
    return Value(graph.add("BatchNormalization", x.name, *weights, epsilon=layer.eps), x.shape, True)


@rule(MaxPool2d)
def _(layer: MaxPool2d, x: Value, graph: Graph) -> Value:
    y = graph.add("MaxPool", graph.to_channels_first(x).name, **_windows(layer.window, x.shape))
    return Value(y, (*layer.window.output((x.shape[0], x.shape[1])), x.shape[2]), True)


@rule(AvgPool2d)
def _(layer: AvgPool2d, x: Value, graph: Graph) -> Value:
    how = _windows(layer.window, x.shape)
    if layer.count_include_pad:  # pixels below and at the right that no window needs do not count
        how["pads"] = [*layer.window.padding] * 2
    counts = int(layer.count_include_pad)
    y = graph.add("AveragePool", graph.to_channels_first(x).name, count_include_pad=counts, **how)
    return Value(y, (*layer.window.output((x.shape[0], x.shape[1])), x.shape[2]), True)


@rule(GlobalAvgPool)
def _(layer: GlobalAvgPool, x: Value, graph: Graph) -> Value:
    y = graph.add("GlobalAveragePool", graph.to_channels_first(x).name)
    return Value(graph.add("Flatten", y), (x.shape[2],))


@rule(Flatten)
def _(layer: Flatten, x: Value, graph: Graph) -> Value:
    size = 1
    for length in x.shape:
        size *= length
    return Value(graph.add("Flatten", graph.to_channels_last(x).name), (size,))


@rule(PatchEmbedding)
def _(layer: PatchEmbedding, x: Value, graph: Graph) -> Value:
    height, width, channels = x.shape
    patch, count = layer.patch, len(layer.positions.data) - 1
    cut = graph.reshape(graph.to_channels_last(x).name, -1, height // patch, patch, width // patch, patch, channels)
    rows = graph.reshape(graph.transpose(cut, 0, 1, 3, 2, 4, 5), -1, count, patch * patch * channels)
    rows = dense(layer.project, rows, graph)
    positions = graph.constant(layer.positions.data[1:], "float32")
    rows = graph.add("Add", rows, positions)
    first = graph.constant((layer.token.data + layer.positions.data[0])[None, None], "float32")
    number = graph.add("Slice", graph.add("Shape", rows), graph.integers(0), graph.integers(1))
    shape = graph.add("Concat", number, graph.integers(1, layer.size), axis=0)
    y = graph.add("Concat", graph.add("Expand", first, shape), rows, axis=1)
    return Value(y, (1 + count, layer.size))

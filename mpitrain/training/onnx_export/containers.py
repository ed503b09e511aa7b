"""Rules for layers that hold others."""

from dataclasses import replace

from ...layers import (
    Concat,
    DenseBlock,
    Layer,
    PostNormBlock,
    PreNormBlock,
    Recompute,
    Residual,
    Sequential,
    SkipConcat,
)
from .graph import Graph, Value
from .rules import emit, rule


@rule(Sequential)
def _(layer: Sequential, x: Value, graph: Graph) -> Value:
    for each in layer:
        x = emit(each, x, graph)
    return x


@rule(Recompute)
def _(layer: Recompute, x: Value, graph: Graph) -> Value:
    return emit(layer.layer, x, graph)


def alike(values: list[Value], graph: Graph) -> list[Value]:
    """Return the values in one layout."""
    if any(value.channels_first for value in values):
        return [graph.to_channels_first(value) for value in values]
    return values


def add(a: Value, b: Value, graph: Graph) -> Value:
    """Return the sum."""
    a, b = alike([a, b], graph)
    return replace(a, name=graph.add("Add", a.name, b.name))


def concat(values: list[Value], graph: Graph) -> Value:
    """Return the values beside each other, along channels or the last dimension."""
    values = alike(values, graph)
    first = values[0].channels_first
    y = graph.add("Concat", *(value.name for value in values), axis=1 if first else -1)
    return Value(y, (*values[0].shape[:-1], sum(value.shape[-1] for value in values)), first)


@rule(Residual)
def _(layer: Residual, x: Value, graph: Graph) -> Value:
    shortcut = x if layer.shortcut is None else emit(layer.shortcut, x, graph)
    y = add(emit(layer.body, x, graph), shortcut, graph)
    return y if layer.activation is None else emit(layer.activation, y, graph)


@rule(Concat)
def _(layer: Concat, x: Value, graph: Graph) -> Value:
    return concat([emit(branch, x, graph) for branch in layer.branches], graph)


@rule(DenseBlock)
def _(layer: DenseBlock, x: Value, graph: Graph) -> Value:
    for member in layer.members:
        x = concat([x, emit(member, x, graph)], graph)
    return x


@rule(SkipConcat)
def _(layer: SkipConcat, x: Value, graph: Graph) -> Value:
    x = graph.to_channels_first(x)
    deep = graph.to_channels_first(emit(layer.inner, x, graph))
    (height, width), (rows, columns) = x.shape[:2], deep.shape[:2]
    name = deep.name
    if rows > height or columns > width:  # what lies beyond x is left out
        name = graph.add("Slice", name, graph.integers(0, 0), graph.integers(height, width), graph.integers(2, 3))
    below, right = max(0, height - rows), max(0, width - columns)
    if below or right:
        name = graph.add("Pad", name, graph.integers(0, 0, 0, 0, 0, 0, below, right))
    return concat([x, Value(name, (height, width, deep.shape[2]), True)], graph)


@rule(PreNormBlock)
def _(layer: PreNormBlock, x: Value, graph: Graph) -> Value:
    z = add(x, _through(x, graph, layer.norm1, layer.attention), graph)
    return add(z, _through(z, graph, layer.norm2, layer.mlp), graph)


@rule(PostNormBlock)
def _(layer: PostNormBlock, x: Value, graph: Graph) -> Value:
    z = emit(layer.norm1, add(x, emit(layer.attention, x, graph), graph), graph)
    return emit(layer.norm2, add(z, emit(layer.mlp, z, graph), graph), graph)


def _through(x: Value, graph: Graph, *layers: Layer) -> Value:
    for layer in layers:
        x = emit(layer, x, graph)
    return x

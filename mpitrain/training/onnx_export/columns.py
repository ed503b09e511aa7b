"""Rules for columns of tables that hold codes, and for recommenders."""

import numpy as np

from ...layers import (
    ColumnEmbeddings,
    DotInteraction,
    DotProduct,
    FirstColumn,
    HashedColumns,
    NeuralFactorization,
    OnNumbers,
    SideBySide,
    UserHistory,
)
from .containers import concat
from .graph import Graph, Value
from .rules import emit, rule

INT64, FLOAT = 7, 1


def columns(x: str, first: int, stop: int, graph: Graph) -> str:
    """Return some columns of (N, C)."""
    found: str = graph.add("Slice", x, graph.integers(first), graph.integers(stop), graph.integers(1))
    return found


def _codes(x: str, column: int, graph: Graph) -> str:
    """Return a column as (N,) int64."""
    picked = graph.add("Gather", x, graph.constant(np.int64(column), name=f"column_{column}"), axis=1)
    found: str = graph.add("Cast", picked, to=INT64)
    return found


@rule(ColumnEmbeddings)
def _(layer: ColumnEmbeddings, x: Value, graph: Graph) -> Value:
    parts = []
    if layer.numbers:
        numbers = graph.add("Gather", x.name, graph.integers(*layer.numbers), axis=1)
        parts.append(graph.add("Cast", numbers, to=FLOAT))
    for table, column in zip(layer.tables, layer.columns, strict=True):
        parts.append(graph.add("Gather", graph.weight(table.weight), _codes(x.name, column, graph)))
    return Value(graph.add("Concat", *parts, axis=1), (layer.num_outputs,))


@rule(FirstColumn)
def _(layer: FirstColumn, x: Value, graph: Graph) -> Value:
    return Value(_codes(x.name, 0, graph), ())


@rule(HashedColumns)
def _(layer: HashedColumns, x: Value, graph: Graph) -> Value:
    large = np.array(layer.sizes) == layer.most
    whole = graph.add("Cast", x.name, to=INT64)
    rest = graph.add("Mod", whole, graph.integers(layer.most))
    codes = graph.add("Where", graph.constant(large[None]), rest, whole)
    if all(layer.sizes):
        return Value(codes, x.shape)
    numbers = graph.constant(np.array(layer.sizes)[None] == 0)
    floats = graph.add("Cast", codes, to=FLOAT)
    return Value(graph.add("Where", numbers, graph.add("Cast", x.name, to=FLOAT), floats), x.shape)


@rule(UserHistory)
def _(layer: UserHistory, x: Value, graph: Graph) -> Value:
    ids = columns(graph.add("Cast", x.name, to=INT64), 1, x.shape[0], graph)
    vectors = graph.add("Gather", graph.weight(layer.items.weight), ids)
    counted = graph.add("Cast", graph.add("Greater", ids, graph.integers(0)), to=FLOAT)
    number = graph.add("ReduceSum", counted, graph.integers(1), keepdims=1)
    shares = graph.add("Div", counted, graph.add("Max", number, graph.number(1.0)))
    weighted = graph.add("Mul", vectors, graph.add("Unsqueeze", shares, graph.integers(2)))
    mean = Value(graph.add("ReduceSum", weighted, graph.integers(1), keepdims=0), (layer.items.size,))
    if layer.users is None:
        return mean
    user = graph.add("Gather", graph.weight(layer.users.weight), _codes(x.name, 0, graph))
    return concat([Value(user, (layer.users.size,)), mean], graph)


@rule(DotProduct)
def _(layer: DotProduct, x: Value, graph: Graph) -> Value:
    size, width = layer.size, layer.width
    p, q = columns(x.name, 0, size, graph), columns(x.name, width, width + size, graph)
    y = graph.add("ReduceSum", graph.add("Mul", p, q), graph.integers(1), keepdims=1)
    y = graph.add("Add", y, graph.weight(layer.bias))
    if width > size:
        for place in (size, width + size):
            y = graph.add("Add", y, columns(x.name, place, place + 1, graph))
    if layer.num_outputs == 2:
        y = graph.add("Concat", graph.add("Mul", y, graph.number(0.0)), y, axis=1)
    return Value(y, (layer.num_outputs,))


@rule(SideBySide)
def _(layer: SideBySide, x: Value, graph: Graph) -> Value:
    first = Value(columns(x.name, 0, layer.size, graph), (layer.size,))
    second = Value(columns(x.name, layer.size, x.shape[0], graph), (x.shape[0] - layer.size,))
    return concat([emit(layer.first, first, graph), emit(layer.second, second, graph)], graph)


@rule(OnNumbers)
def _(layer: OnNumbers, x: Value, graph: Graph) -> Value:
    count = layer.num_numbers
    numbers = Value(columns(x.name, 0, count, graph), (count,))
    rest = Value(columns(x.name, count, x.shape[0], graph), (x.shape[0] - count,))
    return concat([emit(layer.layer, numbers, graph), rest], graph)


@rule(NeuralFactorization)
def _(layer: NeuralFactorization, x: Value, graph: Graph) -> Value:
    f, width = layer.factors, x.shape[0] // 2
    parts = []
    if f:
        pair = columns(x.name, 0, f, graph), columns(x.name, width, width + f, graph)
        parts.append(Value(graph.add("Mul", *pair), (f,)))
    if width > f:
        both = [columns(x.name, f, width, graph), columns(x.name, width + f, 2 * width, graph)]
        rest = Value(graph.add("Concat", *both, axis=1), (2 * (width - f),))
        parts.append(emit(layer.tower, rest, graph))
    return parts[0] if len(parts) == 1 else concat(parts, graph)


@rule(DotInteraction)
def _(layer: DotInteraction, x: Value, graph: Graph) -> Value:
    count = layer.num_vectors
    v = graph.reshape(x.name, -1, count, layer.size)
    products = graph.add("Flatten", graph.add("MatMul", v, graph.transpose(v, 0, 2, 1)))
    rows, others = np.tril_indices(count, -1)
    pairs = graph.add("Gather", products, graph.constant((rows * count + others).astype(np.int64)), axis=1)
    found = Value(pairs, (len(rows),))
    if not layer.first:
        return found
    return concat([Value(columns(x.name, 0, layer.first, graph), (layer.first,)), found], graph)

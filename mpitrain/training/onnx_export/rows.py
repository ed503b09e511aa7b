"""Rules for layers of the last dimension, and of each number alone."""

import math
from dataclasses import replace

from ...layers import GELU, Dropout, LayerNorm, Linear, ReLU, RMSNorm, Sigmoid, SiLU, SwiGLU, Tanh, TiedHead
from .graph import Graph, Value
from .rules import rule


def dense(layer: Linear, x: str, graph: Graph) -> str:
    """Return x w + b of rows (..., C)."""
    y: str = graph.add("MatMul", x, graph.weight(layer.weight))
    return y if layer.bias is None else graph.add("Add", y, graph.weight(layer.bias))


@rule(Linear)
def _(layer: Linear, x: Value, graph: Graph) -> Value:
    x = graph.to_channels_last(x)
    return Value(dense(layer, x.name, graph), (*x.shape[:-1], layer.num_outputs))


@rule(TiedHead)
def _(layer: TiedHead, x: Value, graph: Graph) -> Value:
    y = graph.add("MatMul", x.name, graph.transpose(graph.weight(layer.weight), 1, 0))
    y = y if layer.bias is None else graph.add("Add", y, graph.weight(layer.bias))
    return Value(y, (*x.shape[:-1], layer.num_outputs))


@rule(ReLU, Tanh, Sigmoid)
def _(layer: ReLU | Tanh | Sigmoid, x: Value, graph: Graph) -> Value:
    name = next(kind.__name__ for kind in (ReLU, Tanh, Sigmoid) if isinstance(layer, kind))
    return replace(x, name=graph.add({"ReLU": "Relu"}.get(name, name), x.name))


@rule(Dropout)
def _(layer: Dropout, x: Value, graph: Graph) -> Value:
    return x


def silu(x: str, graph: Graph) -> str:
    """Return x sigmoid(x)."""
    found: str = graph.add("Mul", x, graph.add("Sigmoid", x))
    return found


@rule(SiLU)
def _(layer: SiLU, x: Value, graph: Graph) -> Value:
    return replace(x, name=silu(x.name, graph))


@rule(SwiGLU)
def _(layer: SwiGLU, x: Value, graph: Graph) -> Value:
    x = graph.to_channels_last(x)
    a, b = graph.add("Split", x.name, outputs=2, axis=-1)
    return Value(graph.add("Mul", silu(a, graph), b), (*x.shape[:-1], x.shape[-1] // 2))


@rule(GELU)
def _(layer: GELU, x: Value, graph: Graph) -> Value:
    if layer.approximate:
        cube = graph.add("Mul", graph.add("Mul", x.name, x.name), x.name)
        inner = graph.add("Add", x.name, graph.add("Mul", cube, graph.number(0.044715)))
        share = graph.add("Tanh", graph.add("Mul", inner, graph.number(math.sqrt(2 / math.pi))))
    else:
        share = graph.add("Erf", graph.add("Mul", x.name, graph.number(math.sqrt(0.5))))
    half = graph.add("Mul", x.name, graph.number(0.5))
    return replace(x, name=graph.add("Mul", half, graph.add("Add", share, graph.number(1.0))))


@rule(LayerNorm)
def _(layer: LayerNorm, x: Value, graph: Graph) -> Value:
    x = graph.to_channels_last(x)
    weights = graph.weight(layer.weight), graph.weight(layer.bias)
    return replace(x, name=graph.add("LayerNormalization", x.name, *weights, axis=-1, epsilon=layer.eps))


@rule(RMSNorm)
def _(layer: RMSNorm, x: Value, graph: Graph) -> Value:
    x = graph.to_channels_last(x)
    mean = graph.add("ReduceMean", graph.add("Mul", x.name, x.name), axes=[-1], keepdims=1)
    root = graph.add("Sqrt", graph.add("Add", mean, graph.number(layer.eps)))
    y = graph.add("Mul", graph.add("Div", x.name, root), graph.weight(layer.weight))
    return replace(x, name=y)

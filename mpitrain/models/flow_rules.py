"""Rules for the costs of layers, as forward of each keeps and moves arrays (``flow``)."""

import math

from ..head_loss import CHUNK_BYTES, LARGE, LEAST_ROWS
from ..layers import (
    GELU,
    Dropout,
    Embedding,
    FirstToken,
    Flatten,
    LayerNorm,
    Linear,
    ReLU,
    RMSNorm,
    Sequential,
    Sigmoid,
    SiLU,
    SwiGLU,
    Tanh,
    TiedHead,
    TokenEmbedding,
)
from ..layers.base import Layer
from ..planning.units import Cut, Product
from .flow import Costs, Value, flow


@flow.register
def _(layer: Sequential, x: Value, costs: Costs) -> Value:
    for child in layer:
        assert isinstance(child, Layer)
        x = flow(child, x, costs)
    return x


@flow.register
def _(layer: Linear, x: Value, costs: Costs) -> Value:
    return linear(layer, x, costs, "")


def linear(layer: Linear, x: Value, costs: Costs, cut: Cut) -> Value:
    """Return the output of a Linear, whole or with one dimension divided by axis tensor."""
    y = Value((*x.shape[:-1], layer.num_outputs), costs, cut == "outputs")
    costs.products.append(Product(math.prod(x.shape[:-1]), layer.num_inputs, layer.num_outputs, cut=cut))
    if cut == "outputs":
        costs.own(layer, is_cut=True)
        costs.largest("width", layer.num_outputs)
    else:
        costs.add("parameters_cut" if cut else "parameters", layer.weight.size)
        costs.add("parameters", 0 if layer.bias is None else layer.bias.size)
    if cut == "inputs":
        costs.add("sums", 1)
    costs.add("num_ops", 1)
    x.keep()
    costs.uses(x, y)
    return y


@flow.register(ReLU)
@flow.register(Tanh)
@flow.register(Sigmoid)
def _(layer: Layer, x: Value, costs: Costs) -> Value:
    y = Value(x.shape, costs, x.is_cut)
    y.keep()
    costs.move(2 * x.size, x.is_cut)
    return y


@flow.register(GELU)
@flow.register(SiLU)
def _(layer: Layer, x: Value, costs: Costs) -> Value:
    y = Value(x.shape, costs, x.is_cut)
    costs.keep(x.size, x.is_cut)  # the slope, or the sigmoid
    if isinstance(layer, SiLU):
        y.keep()
    costs.move(3 * x.size, x.is_cut)
    return y


@flow.register
def _(layer: SwiGLU, x: Value, costs: Costs) -> Value:
    y = Value((*x.shape[:-1], x.shape[-1] // 2), costs, x.is_cut)
    x.keep()
    costs.move(x.size + y.size, x.is_cut)
    costs.uses(x, y)
    return y


@flow.register
def _(layer: Dropout, x: Value, costs: Costs) -> Value:
    y = Value(x.shape, costs, x.is_cut)
    if layer.p:
        costs.keep(x.size, x.is_cut)
        costs.move(3 * x.size, x.is_cut)
    return y


@flow.register
def _(layer: LayerNorm, x: Value, costs: Costs) -> Value:
    y = Value(x.shape, costs)
    costs.keep(x.size + x.size / x.shape[-1], False)
    costs.own(layer)
    costs.move(3 * x.size, False)
    return y


@flow.register
def _(layer: RMSNorm, x: Value, costs: Costs) -> Value:
    x.keep()
    costs.keep(x.size / x.shape[-1], False)
    costs.own(layer)
    costs.move(2 * x.size, False)
    return Value(x.shape, costs)


@flow.register
def _(layer: Flatten, x: Value, costs: Costs) -> Value:
    return Value((x.size,), x.costs, x.is_cut, x.is_kept)


@flow.register
def _(layer: FirstToken, x: Value, costs: Costs) -> Value:
    costs.move(2 * x.shape[-1], False)
    return Value((x.shape[-1],), costs)


@flow.register
def _(layer: Embedding, x: Value, costs: Costs) -> Value:
    y = Value((*x.shape, layer.size), costs)
    costs.add("parameters_cut", layer.weight.size)
    costs.add("tables", layer.weight.size)
    costs.move(2 * y.size, False)
    costs.add("sums", 1)
    costs.largest("summed", y.size)
    costs.largest("width", layer.num_embeddings)
    return y


@flow.register
def _(layer: TokenEmbedding, x: Value, costs: Costs) -> Value:
    rest = sum(p.size for _, p in layer.named_parameters()) - layer.weight.size
    y: Value = flow.dispatch(Embedding)(layer, x, costs)
    costs.add("parameters", rest)
    if layer.positions is not None:
        costs.move(2 * y.size, False)
    if layer.norm is not None:
        costs.add("parameters", -sum(p.size for _, p in layer.norm.named_parameters()))
        y = flow(layer.norm, y, costs)
    return y


def head(inputs: int, outputs: int, x: Value, costs: Costs) -> Value:
    """Return logits, with the loss; many of them are computed in chunks and never kept (``head_loss``)."""
    rows = math.prod(x.shape[:-1])
    costs.products.append(Product(rows, inputs, outputs, cut="outputs"))
    y = Value((*x.shape[:-1], outputs), costs, True)
    x.keep()
    costs.move(3 * y.size, True)
    costs.add("sums_back", 1)
    costs.largest("summed", x.size)
    costs.largest("width", outputs)
    if outputs >= LARGE:
        costs.keep(x.size, False)  # dx
        most = max(LEAST_ROWS, CHUNK_BYTES // (4 * outputs))
        costs.found |= {"chunk_bytes": 4.0 * rows * outputs, "chunk_limit": 4.0 * most * outputs}
    else:
        costs.keep(2 * y.size, True)
        costs.uses(x, y)
    return y


@flow.register
def _(layer: TiedHead, x: Value, costs: Costs) -> Value:
    costs.found["shared_parameters"] = layer.weight.size
    if layer.bias is not None:
        costs.add("parameters_cut", layer.bias.size)
    return head(layer.num_inputs, layer.num_outputs, x, costs)

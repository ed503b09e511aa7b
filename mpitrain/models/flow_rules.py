"""Rules for the costs of layers, as forward of each keeps and moves arrays (``flow``)."""

import math

from ..head_loss import CHUNK_BYTES, LARGE, LEAST_ROWS
from ..layers import (
    GELU,
    Dropout,
    Embedding,
    Experts,
    FirstToken,
    Flatten,
    LayerNorm,
    Linear,
    MixtureOfExperts,
    MultiHeadAttention,
    PatchEmbedding,
    PostNormBlock,
    PreNormBlock,
    ReLU,
    Residual,
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


@flow.register
def _(layer: MultiHeadAttention, x: Value, costs: Costs) -> Value:
    length, heads, kv = x.shape[0], layer.num_heads, layer.num_kv_heads
    qkv = linear(layer.qkv, x, costs, "outputs")
    qkv.keep()
    seen = length / 2 if layer.causal else length  # of the tokens that each token could see
    costs.products += [
        Product(length, layer.head_size, seen, heads, "heads"),
        Product(length, seen, layer.head_size, heads, "heads"),
    ]
    costs.keep(heads * length, True)  # log of the sums
    costs.move(length * seen * heads, True)
    costs.found |= {"heads": kv if kv < heads else heads, "length": length}
    costs.add("turned", (2 * heads + 2 * kv) * layer.head_size * length)
    y = Value((length, heads * layer.head_size), costs, True)
    costs.uses(qkv, qkv)
    out = linear(layer.out, y, costs, "inputs")
    costs.add("sums_back", 1)
    costs.largest("summed", out.size)
    return out


def mlp(layer: Layer, x: Value, costs: Costs) -> Value:
    """Return the output of Linear, activation, Linear as a column and a row; of other layers by their own rules."""
    parts = list(layer) if isinstance(layer, Sequential) else []
    if len(parts) == 3 and type(parts[0]) is Linear and type(parts[2]) is Linear:
        y = flow(parts[1], linear(parts[0], x, costs, "outputs"), costs)
        out = linear(parts[2], y, costs, "inputs")
        costs.add("sums_back", 1)
        costs.largest("summed", out.size)
        return out
    return flow(layer, x, costs)


@flow.register(PreNormBlock)
def _(layer: PreNormBlock, x: Value, costs: Costs) -> Value:
    z = flow(layer.attention, flow(layer.norm1, x, costs), costs)
    z = Value((flow(layer.dropout1, z, costs) if layer.dropout1 else z).shape, costs)
    y = mlp(layer.mlp, flow(layer.norm2, z, costs), costs)
    y = flow(layer.dropout2, y, costs) if layer.dropout2 else y
    costs.move(6 * x.size, False)
    costs.add("in_turn", 4 * x.size)  # both shortcuts, and the gradients of both
    return Value(y.shape, costs)


@flow.register(PostNormBlock)
def _(layer: PostNormBlock, x: Value, costs: Costs) -> Value:
    z = flow(layer.attention, x, costs)
    z = flow(layer.norm1, flow(layer.dropout1, z, costs) if layer.dropout1 else z, costs)
    y = mlp(layer.mlp, z, costs)
    y = flow(layer.norm2, flow(layer.dropout2, y, costs) if layer.dropout2 else y, costs)
    costs.move(6 * x.size, False)
    costs.add("in_turn", 6 * x.size)
    return y


@flow.register
def _(layer: Residual, x: Value, costs: Costs) -> Value:
    body = flow(layer.body, x, costs)
    shortcut = x if layer.shortcut is None else flow(layer.shortcut, x, costs)
    y = Value(body.shape, costs)
    y.keep()
    costs.move(3 * shortcut.size, False)
    costs.add("in_turn", 2 * x.size)
    if layer.activation is None or type(layer.activation) is ReLU:
        return y
    return flow(layer.activation, y, costs)


@flow.register
def _(layer: PatchEmbedding, x: Value, costs: Costs) -> Value:
    rows, size = layer.positions.shape[0], layer.size
    patches = Value((rows - 1, layer.project.num_inputs), costs)
    y = linear(layer.project, patches, costs, "")
    costs.add("parameters", layer.positions.size + layer.token.size)
    costs.move(2 * patches.size + 3 * y.size, False)
    return Value((rows, size), costs)


@flow.register
def _(layer: MixtureOfExperts, x: Value, costs: Costs) -> Value:
    experts, tokens, size = layer.experts, math.prod(x.shape[:-1]), x.shape[-1]
    assert isinstance(experts, Experts)
    rows = tokens * layer.top_k  # each token goes to so many experts
    total = sum(p.size for _, p in layer.named_parameters())
    of_experts = sum(p.size for _, p in experts.named_parameters())
    inside = experts.weight1.shape[-1]
    costs.add("parameters", total - of_experts)
    costs.add("parameters_expert", of_experts)
    costs.products += [
        Product(tokens, size, layer.num_experts),
        Product(rows, size, inside),
        Product(rows, experts.hidden, size),
    ]
    x.keep()
    costs.keep(rows * (2 * size + inside + experts.hidden) + 2 * tokens * layer.num_experts, False)
    costs.move(rows * (4 * size + 3 * inside), False)
    costs.add("routed", rows * size)
    costs.largest("experts", layer.num_experts)
    y = Value(x.shape, costs)
    costs.uses(x, Value((rows, inside), costs))
    return y

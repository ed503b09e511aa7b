"""Rules for the costs of attention, of blocks and of mixtures of experts (``flow``)."""

import math

from ..layers import (
    Experts,
    Linear,
    MixtureOfExperts,
    MultiHeadAttention,
    PatchEmbedding,
    PostNormBlock,
    PreNormBlock,
    ReLU,
    Residual,
    Sequential,
)
from ..layers.base import Layer
from ..planning.units import Product
from .flow import Costs, Value, flow
from .flow_rules import linear


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

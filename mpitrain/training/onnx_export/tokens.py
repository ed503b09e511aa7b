"""Rules for layers of tokens: vectors for their numbers, and attention between them.

Rows have any number T of tokens up to that of training. Token numbers of -1 at the end of a row stand for none.
"""

import numpy as np

from ...context import PAD
from ...errors import UserError
from ...layers import Embedding, FirstToken, MultiHeadAttention, TokenEmbedding
from ...ops.rotary import rotary_table
from .graph import Graph, Tokens, Value
from .rows import dense
from .rules import emit, rule

HIDDEN = -1e30
"""Score of keys that a query does not see: its exponential is 0."""


@rule(Embedding)
def _(layer: Embedding, x: Value, graph: Graph) -> Value:
    return Value(graph.add("Gather", graph.weight(layer.weight), x.name), (*x.shape, layer.size))


@rule(FirstToken)
def _(layer: FirstToken, x: Value, graph: Graph) -> Value:
    return Value(graph.add("Gather", x.name, graph.constant(np.int64(0), name="zero"), axis=1), (x.shape[-1],))


@rule(TokenEmbedding)
def _(layer: TokenEmbedding, x: Value, graph: Graph) -> Value:
    is_token = graph.add("Not", graph.add("Equal", x.name, graph.integers(PAD)))
    ids = graph.add("Mul", x.name, graph.add("Cast", is_token, to=7))  # int64; PAD has the vector of token 0
    graph.tokens = _facts(layer, x, is_token, graph)
    y = graph.add("Gather", graph.weight(layer.weight), ids)
    if layer.positions is not None:
        y = graph.add("Add", y, graph.add("Gather", graph.weight(layer.positions), graph.tokens.positions))
    if layer.types is not None:
        y = graph.add("Add", y, graph.constant(layer.types.data[0], "float32"))
    found = Value(y, (*x.shape, layer.size))
    return found if layer.norm is None else emit(layer.norm, found, graph)


def _facts(layer: TokenEmbedding, x: Value, is_token: str, graph: Graph) -> Tokens:
    length = graph.add("Gather", graph.add("Shape", x.name), graph.constant(np.int64(1), name="one"))
    zero, one = graph.constant(np.int64(0), name="zero"), graph.constant(np.int64(1), name="one")
    places = graph.add("Unsqueeze", graph.add("Range", zero, length, one), graph.integers(0))  # (1, T)
    found = Tokens(positions=places, length=x.shape[0])
    if not layer.causal:
        found.seen = graph.add("Unsqueeze", is_token, graph.integers(1, 2))
    if layer.end_of_text is None:
        return found
    ends = graph.add("Cast", graph.add("Equal", x.name, graph.integers(layer.end_of_text)), to=7)
    numbers = graph.add("CumSum", ends, one, exclusive=1)  # of the sequence that each token belongs to
    queries = graph.add("Unsqueeze", numbers, graph.integers(2))
    keys = graph.add("Unsqueeze", numbers, graph.integers(1))
    same = graph.add("Unsqueeze", graph.add("Equal", queries, keys), graph.integers(1))
    before = graph.add("Cast", graph.add("Less", keys, queries), to=7)
    firsts = graph.add("ReduceSum", before, graph.integers(2), keepdims=0)  # tokens of the sequences before
    found.positions = graph.add("Sub", places, firsts)
    found.seen = graph.add("And", found.seen, same) if found.seen else same
    return found


@rule(MultiHeadAttention)
def _(layer: MultiHeadAttention, x: Value, graph: Graph) -> Value:
    if graph.tokens is None:  # patches of images
        graph.tokens = Tokens(length=x.shape[0])
    heads, kv, size = layer.num_heads, layer.num_kv_heads, layer.head_size
    qkv = dense(layer.qkv, x.name, graph)
    split = graph.integers(heads * size, kv * size, kv * size)
    q, k, v = graph.add("Split", qkv, split, outputs=3, axis=-1)
    q, k, v = (_heads(part, count, size, graph) for part, count in ((q, heads), (k, kv), (v, kv)))
    if layer.rotary is not None:
        q, k = (_turned(part, layer, graph) for part in (q, k))
    if kv < heads:
        k, v = (_repeated(part, heads // kv, heads, size, graph) for part in (k, v))
    scores = graph.add("MatMul", q, graph.transpose(k, 0, 1, 3, 2))
    scores = graph.add("Mul", scores, graph.number(layer.scale))
    seen = _seen(layer, graph)
    if seen:
        scores = graph.add("Where", seen, scores, graph.number(HIDDEN))
    shares = graph.add("Softmax", scores, axis=-1)
    if seen and not layer.causal:  # a row without any token sees nothing, and gets 0
        shares = graph.add("Mul", shares, graph.add("Cast", seen, to=1))
    y = graph.add("MatMul", shares, v)
    y = graph.reshape(graph.transpose(y, 0, 2, 1, 3), 0, 0, heads * size)
    return Value(dense(layer.out, y, graph), x.shape)


def _heads(x: str, count: int, size: int, graph: Graph) -> str:
    """Return (N, heads, T, D) of (N, T, heads D)."""
    return graph.transpose(graph.reshape(x, 0, 0, count, size), 0, 2, 1, 3)


def _repeated(x: str, times: int, heads: int, size: int, graph: Graph) -> str:
    """Return keys or values (N, H, T, D) of (N, Hk, T, D), each for the heads that share it."""
    one = graph.add("Unsqueeze", x, graph.integers(2))
    many = graph.add("Concat", *([one] * times), axis=2)  # (N, Hk, times, T, D)
    shape = graph.add("Shape", x)
    number, length = (graph.add("Slice", shape, graph.integers(i), graph.integers(i + 1)) for i in (0, 2))
    wanted = graph.add("Concat", number, graph.integers(heads), length, graph.integers(size), axis=0)
    found: str = graph.add("Reshape", many, wanted)
    return found


def _turned(x: str, layer: MultiHeadAttention, graph: Graph) -> str:
    """Return heads (N, H, T, D) turned by the positions of their tokens (ops/rotary.py)."""
    tokens, half = graph.tokens, layer.head_size // 2
    assert tokens is not None
    assert layer.rotary is not None
    if not tokens.positions:
        raise UserError("attention with rotary positions is exported to ONNX behind a TokenEmbedding only")
    table = rotary_table(tokens.length, layer.head_size, layer.rotary)
    name = f"rotary_{layer.rotary}_{layer.head_size}"
    rows = graph.add("Gather", graph.constant(table, "float32", name=name), tokens.positions)  # (N or 1, T, D)
    rows = graph.add("Unsqueeze", rows, graph.integers(1))
    cos, sin = graph.add("Split", rows, graph.integers(half, half), outputs=2, axis=-1)
    a, b = graph.add("Split", x, graph.integers(half, half), outputs=2, axis=-1)
    first = graph.add("Sub", graph.add("Mul", a, cos), graph.add("Mul", b, sin))
    second = graph.add("Add", graph.add("Mul", b, cos), graph.add("Mul", a, sin))
    found: str = graph.add("Concat", first, second, axis=-1)
    return found


def _seen(layer: MultiHeadAttention, graph: Graph) -> str:
    """Return the bool array of the keys that queries see, (N or 1, 1, T or 1, T); empty for all."""
    tokens = graph.tokens
    assert tokens is not None
    if not layer.causal:
        return tokens.seen
    length = tokens.length
    if not tokens.positions:
        raise UserError("causal attention is exported to ONNX behind a TokenEmbedding only")
    # places in rows, not in sequences: of more tokens than a row can have, the first T x T
    mask = graph.constant(np.tri(length, dtype=bool), name=f"causal_{length}")
    end = graph.add("Slice", graph.add("Shape", tokens.positions), graph.integers(1), graph.integers(2))
    ends = graph.add("Concat", end, end, axis=0)
    causal = graph.add("Slice", mask, graph.integers(0, 0), ends, graph.integers(0, 1))
    causal = graph.add("Unsqueeze", causal, graph.integers(0, 1))
    found: str = graph.add("And", causal, tokens.seen) if tokens.seen else causal
    return found

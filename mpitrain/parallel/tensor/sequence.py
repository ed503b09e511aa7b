"""Sequence parallelism: between divided layers, each rank has some of the tokens (Korthikanti et al. 2022, 2205.05198).

Norms, dropout and shortcuts of transformer blocks compute each token alone. So in a run of blocks the sum after a row
becomes a reduce-scatter over the tokens, and the copy before a column an all-gather: the same bytes, while what lies
between takes 1/P of the memory and of the time. Parameters there are whole, and their gradients are sums over the
tokens of all ranks (``Parameter.sum_over``).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...comm.group import Group
from ...context import Context
from ...layers import (
    Dropout,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    PostNormBlock,
    PreNormBlock,
    Recompute,
    RMSNorm,
    Sequential,
)
from ...parameter import Shard
from ..moves import AllGather, Gather, Move, ReduceScatter, Split
from ..moves.move import slices_of
from ..moves.overlapped import overlapped
from .attention import attention
from .chains import divide_run, find_runs
from .cut import AXIS
from .divided import Divided
from .places import Place, is_plain, rows
from .products import Ends

TOKENS = 1  # the dimension of (N, T, C)


class Rows:
    """The number of tokens of a row, T, which ``Split`` sets: rows may be shorter than those of a stage's border."""

    def __init__(self, length: int):
        self.length = length


class TokenMove(Layer):
    """A move along the tokens of rows, of which microbatches may have different numbers.

    Parameters
    ----------
    make : type
        Split, Gather, AllGather or ReduceScatter.
    group : Group
    tokens : Rows
        Common to all moves of a model.
    """

    def __init__(self, make: Callable[[Group, int, int], Move], group: Group, tokens: Rows):
        self._make, self.group, self.tokens = make, group, tokens
        self._first = make(group, TOKENS, tokens.length)
        self._moves = {tokens.length: self._first}

    @property
    def kind(self) -> str:
        """The kind of move."""
        return self._first.kind

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return y."""
        if isinstance(self._first, Split):
            self.tokens.length = x.shape[TOKENS]
        move = ctx[self] = self._of(self.tokens.length)
        return move.forward(x, ctx)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return dx."""
        move = ctx[self]
        move.needs_dx = self.needs_dx
        return move.backward(dy, ctx)

    def start_backward(self, dy: Any, ctx: Context) -> Callable[[], Any]:
        """Start to compute dx of an AllGather, and return the function that waits for it."""
        wait: Callable[[], Any] = ctx[self].start_backward(dy, ctx)
        return wait

    def joined(self, above: Layer) -> Layer | None:
        """Return both in one, where the gradients of ``above`` are computed while dx is summed."""
        return overlapped(self, above) if isinstance(self._first, AllGather) else None

    def _of(self, length: int) -> Move:
        if length not in self._moves:
            self._moves[length] = self._make(self.group, TOKENS, length)
        return self._moves[length]


def has_blocks(model: Layer, size: int) -> bool:
    """Return whether ``model`` has blocks whose tokens ``size`` ranks can divide."""
    return bool(find_blocks([place.layer for place in _units(model)], size))


def _units(model: Layer) -> list[Place]:
    inner = model.layer if type(model) is Recompute else model
    return next(rows(inner)) if is_plain(inner) else []


def divide_tokens(model: Layer, group: Group, length: int) -> None:
    """Divide the tokens of the blocks of ``model``, and the blocks.

    Parameters
    ----------
    length : int
        Tokens of a row.
    """
    row = _units(model)
    found = find_blocks([place.layer for place in row], group.size)
    tokens = Rows(length)
    move = {make: partial(TokenMove, make, group, tokens) for make in (Split, Gather, AllGather, ReduceScatter)}
    ends = Ends(move[AllGather], move[ReduceScatter])
    layers = {i: _tokenwise(row[i], group, tokens, ends) for i in range(found.start, found.stop)}
    first, last = found.start, found.stop - 1
    layers[first] = Divided(move[Split](), layers[first])
    layers[last] = Divided(layers[last], move[Gather]())
    for i, layer in layers.items():
        row[i].put(layer)


def find_blocks(layers: Sequence[Layer], size: int) -> range:
    """Return the places of the first run of blocks that ``size`` ranks can divide, with norms and dropout after it."""
    fits = [_is_block(layer, size) for layer in layers]
    first = fits.index(True) if True in fits else 0
    stop = first
    while stop < len(layers) and (fits[stop] or (stop > first and type(layers[stop]) in (LayerNorm, RMSNorm, Dropout))):
        stop += 1
    return range(first, stop)


def _is_block(layer: Layer, size: int) -> bool:
    block = layer.layer if type(layer) is Recompute else layer
    if type(block) not in (PreNormBlock, PostNormBlock):
        return False
    assert isinstance(block, PreNormBlock | PostNormBlock)
    if type(block.attention) is not MultiHeadAttention or type(block.mlp) is not Sequential:
        return False
    mlp = list(block.mlp)
    return any((run.first, run.last) == (0, len(mlp) - 1) for run in find_runs(mlp, size))


def _tokenwise(place: Place, group: Group, tokens: Rows, ends: Ends) -> Layer:
    """Return a layer for the tokens of this rank; of a block, what is divided is divided."""
    layer = place.layer
    block = layer.layer if type(layer) is Recompute else layer
    if isinstance(block, Dropout):
        return _dropout(block, group, tokens)
    if isinstance(block, PreNormBlock | PostNormBlock):
        assert isinstance(block.attention, MultiHeadAttention)
        assert isinstance(block.mlp, Sequential)
        block.attention = attention(block.attention, group, ends)
        mlp = next(iter(rows(block.mlp)))
        layers = [each.layer for each in mlp]
        (run,) = find_runs(layers, group.size)
        for i, made in divide_run(layers, run, group, ends):
            mlp[i].put(made)
        if block.dropout1 is not None and block.dropout2 is not None:
            block.dropout1, block.dropout2 = (_dropout(d, group, tokens) for d in (block.dropout1, block.dropout2))
    for _, p in block.named_parameters():
        if p.shard is None:
            p.sum_over = group
    return layer


def _dropout(layer: Dropout, group: Group, tokens: Rows) -> Dropout:
    def place() -> tuple[Shard, int]:
        part = slices_of(tokens.length, group.size)[group.rank]
        return Shard(TOKENS, ((part.start, part.stop),), AXIS), tokens.length

    return layer.part(place)


def row_length(model: Layer, input_shape: tuple[int, ...]) -> int:
    """Return the tokens of a row behind the first layer: patches and the token before them, or tokens of a text."""
    for layer in model.layers():
        positions = getattr(layer, "positions", None)
        if layer.kind == "PatchEmbedding" and positions is not None:
            return int(np.prod(positions.full_shape[:1]))
    return input_shape[0]

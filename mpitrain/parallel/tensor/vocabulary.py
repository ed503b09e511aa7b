"""A vocabulary divided among ranks: the table of token vectors by its rows, the head by its outputs.

Shapes: V tokens of which a rank has V_r, C the size of a vector. Shoeybi et al. 2019, arXiv 1909.08053.
"""

from typing import Any, NamedTuple

import numpy as np

from ... import head_loss
from ...comm.group import Group
from ...context import Context
from ...layers import Layer, Linear, Recompute, Sequential, TiedHead, TokenEmbedding
from ...parameter import Parameter
from ..moves import Sum
from .cut import Cut
from .head import DividedHead
from .places import is_plain, rows


class VocabularyEmbedding(TokenEmbedding):
    """A TokenEmbedding with some of the rows of w: other tokens give 0, and the vectors of all ranks are summed.

    Positions, types and norm are whole, on every rank. Backward sends nothing: a rank has the gradients of its rows.

    Parameters
    ----------
    whole : TokenEmbedding
    weight : Parameter
        This rank's rows, which follow each other.
    group : Group
    """

    def __init__(self, whole: TokenEmbedding, weight: Parameter, group: Group):
        vars(self).update(vars(whole))
        assert weight.shard is not None
        ((self.first, self.stop),) = weight.shard.ranges
        self.weight = weight
        self.sum = Sum(group)

    def _look_up(self, ids: np.ndarray, y: np.ndarray, ctx: Context) -> np.ndarray:
        is_own, own = self._own(ids)
        super()._look_up(own, y, ctx)
        rows = y.reshape(len(ids), self.size)
        np.multiply(rows, is_own[:, None], out=rows)
        found: np.ndarray = self.sum.forward(y, ctx)
        return found

    def put_gradient(self, ids: np.ndarray, dy: np.ndarray) -> None:
        """Add rows to dw at the tokens that this rank has."""
        is_own, own = self._own(ids)
        rows = dy.reshape(len(ids), self.size)
        if isinstance(ids, np.ndarray):
            super().put_gradient(own[is_own], rows[is_own])
        else:  # a mask as an index would wait for the device: row 0 gets zeros
            super().put_gradient(own, np.multiply(rows, is_own[:, None]))

    def _own(self, ids: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return which ids this rank has, and all ids by their rows here; 0 for those of others."""
        is_own = (ids >= self.first) & (ids < self.stop)
        return is_own, np.where(is_own, ids - self.first, 0)


class Vocabulary(NamedTuple):
    """The ends of a model with a large vocabulary, and the numbers of their units; None for one that stays whole."""

    model: Sequential
    embedding: TokenEmbedding | None
    head: Linear | TiedHead | None


def find_vocabulary(model: Layer, size: int) -> Vocabulary | None:
    """Return what ``size`` ranks can divide of the first and the last layer of ``model``; None if there is nothing.

    A table of ``LARGE`` rows or more, or a head of so many outputs. A table that the head shares is divided with it,
    and stays whole where another layer shares it.
    """
    if type(model) is Recompute:
        model = model.layer
    if not is_plain(model):
        return None
    assert isinstance(model, Sequential)
    units = model.units()
    if not units:
        return None
    first, last = units[0].layer, units[-1].layer
    least = max(head_loss.LARGE, size)
    embedding = first if type(first) is TokenEmbedding and first.num_embeddings >= least else None
    head = last if isinstance(last, Linear | TiedHead) and last.num_outputs >= least else None
    if type(head) not in (Linear, TiedHead):
        head = None
    ends = [end for end in (embedding, head) if end is not None]
    weights = {id(end.weight) for end in ends}
    for layer in model.layers():
        if not any(layer is end for end in ends) and weights & {id(value) for value in vars(layer).values()}:
            return None
    return Vocabulary(model, embedding, head) if ends else None


def divide_vocabulary(model: Layer, group: Group) -> None:
    """Put the parts of a rank in the places of the first and the last layer of ``model``, if they can be divided."""
    found = find_vocabulary(model, group.size)
    if found is None:
        return
    row = next(rows(found.model))
    weights: dict[int, Parameter] = {}
    if found.embedding is not None:
        cut = Cut.even(found.embedding.num_embeddings, group.size)
        weight = weights[id(found.embedding.weight)] = found.embedding.weight.part(cut.shard(0, group.rank))
        row[0].put(VocabularyEmbedding(found.embedding, weight, group))
    if found.head is not None:
        cut = Cut.even(found.head.num_outputs, group.size)
        if isinstance(found.head, Linear):
            part: Layer = found.head.part(cut.shard(1, group.rank))
        else:
            shard = cut.shard(0, group.rank)
            part = found.head.part(shard, weights.get(id(found.head.weight)))
        row[-1].put(DividedHead(part, cut, group))

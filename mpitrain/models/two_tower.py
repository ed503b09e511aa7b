"""Two-tower retrieval (Covington et al. 2016, "Deep neural networks for YouTube recommendations"; Yi et al. 2019)."""

from collections.abc import Sequence

from ..errors import UserError
from ..layers import (
    DotProduct,
    Dropout,
    Layer,
    Linear,
    ReLU,
    Sequential,
    SideBySide,
    TiedHead,
    UserHistory,
)
from .users_and_items import check_positive, takes_pairs, vectors_of, vectors_of_pairs

STD = 0.1
"""Standard deviation of the initial values of vectors."""


def two_tower(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    size: int = 32,
    widths: Sequence[int] = (64,),
    users: bool = True,
    dropout: float = 0.0,
    categories: tuple[int, ...] = (),
) -> Sequential:
    """Two towers: a network of the user, its history included, and vectors of the items; scores are dot products.

    The vectors of items in the history are those of the scores. Of a pair of user and item each has a network of its
    own.

    Parameters
    ----------
    size : int
        Size of the vectors.
    widths : sequence of int
        Sizes of the hidden layers of the user's network, or of both.
    users : bool
        Whether each user has a vector; without it the history alone describes a user, one who is new, too.
    dropout : float
        Probability that a hidden unit is dropped.
    categories : tuple of int
        Number of codes of users and of items; those of the data by default.

    Notes
    -----
    The loss of the next item is a softmax over all items, not over those of a batch, which needs no correction for the
    frequencies of these.
    """
    check_positive("two-tower", size=size, **{"least of the widths": min(widths, default=1)})
    if takes_pairs("two-tower", num_outputs, categories):
        if not users:
            raise UserError("users=false of two-tower needs the history of the user, as in ratings:FILE,history=10")
        towers = SideBySide(_tower(size, size, widths, dropout), _tower(size, size, widths, dropout), size)
        product = DotProduct(size, biases=False, num_outputs=num_outputs)
        return Sequential(vectors_of_pairs(categories, size, STD), towers, product)
    if len(categories) == 1:
        raise UserError("two-tower takes the latest items of the user, as in ratings:FILE,history=10; mf does without")
    items = vectors_of(categories[1], size, STD)
    history = UserHistory(vectors_of(categories[0], size, STD) if users else None, items)
    tower = _tower(size * (1 + users), size, widths, dropout)
    return Sequential(history, *tower, TiedHead(items, bias=True))


def _tower(num_inputs: int, num_outputs: int, widths: Sequence[int], dropout: float) -> Sequential:
    layers: list[Layer] = []
    for width in widths:
        layers += [Linear(num_inputs, width), ReLU(), *([Dropout(dropout)] if dropout else [])]
        num_inputs = width
    return Sequential(*layers, Linear(num_inputs, num_outputs))

"""Neural collaborative filtering (He et al. 2017, arXiv 1708.05031)."""

from collections.abc import Sequence
from itertools import pairwise

from ..errors import UserError
from ..layers import Dropout, Layer, Linear, NeuralFactorization, ReLU, Sequential
from .users_and_items import takes_pairs, vectors_of_pairs

STD = 0.01
"""Standard deviation of the initial values of vectors (section 4.1 of the paper)."""


def ncf(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    factors: int = 8,
    widths: Sequence[int] = (64, 32, 16, 8),
    dropout: float = 0.0,
    categories: tuple[int, ...] = (),
) -> Sequential:
    """NeuMF: a linear layer of the product of two vectors (GMF), and of a perceptron of two others (MLP).

    Parameters
    ----------
    factors : int
        Size of the vectors of the product; 0 leaves the MLP alone.
    widths : sequence of int
        Sizes of the perceptron: that of the vectors of user and item together, which is even, then of its layers; none
        leaves GMF alone.
    dropout : float
        Probability that an input of a layer of the perceptron is dropped.
    categories : tuple of int
        Number of codes of users and of items; those of the data by default.
    """
    if not takes_pairs("ncf", num_outputs, categories):
        raise UserError("the model ncf takes pairs of user and item: with clicks as in ratings:FILE,negatives=4")
    if factors < 0 or min(widths, default=1) < 1 or not (factors or widths):
        raise UserError(f"ncf needs factors or widths of at least 1, but they are {factors} and {list(widths)}")
    if widths and widths[0] % 2:
        raise UserError(f"the first of the widths of ncf is that of two vectors together, but {widths[0]} is odd")
    tower: list[Layer] = []
    for before, after in pairwise(widths):
        tower += [*([Dropout(dropout)] if dropout else []), Linear(before, after), ReLU()]
    size = widths[0] // 2 if widths else 0
    vectors = vectors_of_pairs(categories, factors + size, STD)
    both = NeuralFactorization(factors, Sequential(*tower))
    return Sequential(vectors, both, Linear(factors + (widths[-1] if widths else 0), num_outputs))

"""Deep learning recommendation model: clicks from numbers and categories.

Naumov et al. 2019, arXiv 1906.00091.
"""

from collections.abc import Sequence

from ..errors import UserError
from ..layers import (
    ColumnEmbeddings,
    DotInteraction,
    HashedColumns,
    Layer,
    Linear,
    OnNumbers,
    ReLU,
    Sequential,
)


def dlrm(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    categories: tuple[int, ...] = (),
    size: int = 16,
    bottom: Sequence[int] = (512, 256, 64),
    top: Sequence[int] = (512, 256),
    hash: int = 0,
) -> Sequential:
    """A recommender: a network for the numbers, vectors of the categories, their dot products, a network for these.

    Parameters
    ----------
    categories : tuple of int
        Number of codes of each column, 0 for a column of numbers; that of the data by default.
    size : int
        Numbers of each vector.
    bottom, top : sequence of int
        Sizes of the hidden layers before and after the dot products; the defaults are those of the paper's code for
        the Criteo set.
    hash : int
        The most rows of a table: a code stands for the row that is the rest of its division by it. 0 for no limit.
    """
    if not any(categories):
        raise UserError("dlrm is for tables with columns of categories, and all columns are numbers: take mlp")
    if size < 1 or min((*bottom, *top), default=1) < 1 or hash < 0:
        raise UserError(f"dlrm needs sizes of 1 or more: size {size}, bottom {bottom}, top {top}, hash {hash}")
    layers: list[Layer] = []
    if hash and max(categories) > hash:
        hashed = HashedColumns(categories, hash)
        layers, categories = [hashed], hashed.sizes
    numbers = categories.count(0)
    layers.append(ColumnEmbeddings(categories, size))
    if numbers:
        layers.append(OnNumbers(Sequential(*_network(numbers, (*bottom, size))), numbers))
    products = DotInteraction(len(categories) - numbers + (numbers > 0), size, keeps_first=numbers > 0)
    if not products.num_outputs:
        raise UserError("dlrm multiplies vectors with each other, and there is one column only: take mlp")
    layers += [products, *_network(products.num_outputs, top)]
    return Sequential(*layers, Linear((products.num_outputs, *top)[-1], num_outputs))


def _network(inputs: int, widths: Sequence[int]) -> list[Layer]:
    layers: list[Layer] = []
    for before, width in zip((inputs, *widths), widths, strict=False):
        layers += [Linear(before, width), ReLU()]
    return layers

"""Multi-layer perceptron: fully connected layers with an activation between them (Rumelhart, Hinton, Williams 1986)."""

import math
from collections.abc import Callable, Sequence

from ..errors import UserError
from ..layers import GELU, ColumnEmbeddings, Dropout, Flatten, Layer, Linear, ReLU, Sequential, Sigmoid, SiLU, Tanh

ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "relu": ReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "gelu": GELU,
    "silu": SiLU,
}


def mlp(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    widths: Sequence[int] = (128,),
    activation: str = "relu",
    dropout: float = 0.0,
    categories: tuple[int, ...] = (),
    embedding: int = 0,
) -> Sequential:
    """A multi-layer perceptron: Flatten, then (Linear, activation, dropout) for each width, then Linear.

    Columns of categories become learned vectors first (``ColumnEmbeddings``).

    Parameters
    ----------
    widths : sequence of int
        Sizes of the hidden layers; without any it is a linear model.
    activation : {"relu", "tanh", "sigmoid", "gelu", "silu"}
    dropout : float
        Probability that a hidden unit is dropped.
    categories : tuple of int
        Number of codes of each column, 0 for a column of numbers; that of the data by default.
    embedding : int
        Size of the vectors of categories; 0 gives a larger one to more categories.
    """
    if activation not in ACTIVATIONS:
        raise UserError(f"there is no activation '{activation}'; there are {', '.join(ACTIVATIONS)}")
    if min(widths, default=1) < 1:
        raise UserError(f"the widths of a network must be at least 1, but they are {list(widths)}")
    if embedding < 0:
        raise UserError(f"the size of vectors must be at least 1, or 0 for one by the categories, not {embedding}")
    layers: list[Layer] = [Flatten()]
    size = math.prod(input_shape)
    if categories:
        vectors = ColumnEmbeddings(categories, embedding or None)
        layers, size = [vectors], vectors.num_outputs
    for width in widths:
        layers += [Linear(size, width), ACTIVATIONS[activation]()]
        if dropout:
            layers.append(Dropout(dropout))
        size = width
    return Sequential(*layers, Linear(size, num_outputs))

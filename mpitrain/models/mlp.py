"""Multi-layer perceptron: fully connected layers with an activation between them (Rumelhart, Hinton, Williams 1986)."""

import math
from collections.abc import Callable, Sequence

from ..errors import UserError
from ..layers import GELU, Dropout, Flatten, Layer, Linear, ReLU, Sequential, Sigmoid, SiLU, Tanh

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
) -> Sequential:
    """A multi-layer perceptron: Flatten, then (Linear, activation, dropout) for each width, then Linear.

    Parameters
    ----------
    widths : sequence of int
        Sizes of the hidden layers; without any it is a linear model.
    activation : {"relu", "tanh", "sigmoid", "gelu", "silu"}
    dropout : float
        Probability that a hidden unit is dropped.
    """
    if activation not in ACTIVATIONS:
        raise UserError(f"there is no activation '{activation}'; there are {', '.join(ACTIVATIONS)}")
    if min(widths, default=1) < 1:
        raise UserError(f"the widths of a network must be at least 1, but they are {list(widths)}")
    layers: list[Layer] = [Flatten()]
    size = math.prod(input_shape)
    for width in widths:
        layers += [Linear(size, width), ACTIVATIONS[activation]()]
        if dropout:
            layers.append(Dropout(dropout))
        size = width
    return Sequential(*layers, Linear(size, num_outputs))

"""Parts that the transformers share: sizes by name, initial values, checks of their input."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import UserError
from ..layers import GELU, Experts, Layer, Linear, MixtureOfExperts, Sequential, SwiGLU, init

STD = 0.02
"""Standard deviation of the initial weights (Radford et al. 2018; Devlin et al. 2018)."""


class Size(NamedTuple):
    """Blocks, size of the vectors, heads; further numbers that a model may have, 0 where it chooses them."""

    depth: int
    width: int
    heads: int
    hidden: int = 0
    kv_heads: int = 0


class Mixture(NamedTuple):
    """Options of a model whose blocks have several feed-forward networks, of which each token takes some.

    Attributes
    ----------
    experts : int
        Networks of a block; 0 for one that all tokens take, in every block.
    top_k : int
        Networks that a token takes.
    every : int
        Blocks number ``every``, 2 ``every``, ... have experts, the others one network.
    balance, rate
        As in ``MixtureOfExperts``.
    """

    experts: int = 0
    top_k: int = 2
    every: int = 1
    balance: str = "loss"
    rate: float = 0.0

    def check(self, model: str, depth: int) -> "Mixture":
        """Return it, or raise a UserError for numbers out of range."""
        if self.experts < 0:
            raise UserError(f"the experts of {model} must be at least 1, but they are {self.experts}")
        if not 1 <= self.every <= depth:
            raise UserError(f"every is {self.every}, but must be from 1 to the number of blocks of {model}, {depth}")
        return self

    def is_in(self, block: int) -> bool:
        """Return whether a block, counted from 0, has experts."""
        return self.experts > 0 and (block + 1) % self.every == 0


def pick_size(model: str, sizes: Mapping[str, Size], name: str, **given: int) -> Size:
    """Return the size of that name, with the numbers that are given (not 0) instead of its own.

    Raises
    ------
    UserError
        If there is no such name, or a number is negative.
    """
    if name not in sizes:
        raise UserError(f"{model} has no size '{name}'; there are {', '.join(sizes)}")
    for option, value in given.items():
        if value < 0:
            raise UserError(f"the {option} of {model} must be at least 1, but it is {value}")
    return sizes[name]._replace(**{option: value for option, value in given.items() if value})


def row_length(model: str, input_shape: tuple[int, ...]) -> int:
    """Return T, the tokens of a sample.

    Raises
    ------
    UserError
        If the samples are not rows of tokens.
    """
    if len(input_shape) != 1:
        raise UserError(f"the model {model} takes rows of tokens, but the samples have the shape {input_shape}")
    return input_shape[0]


def check_vocabulary(model: str, vocabulary: int, num_outputs: int) -> None:
    """Raise a UserError if the outputs are not the tokens of the vocabulary, where this is known (not 0)."""
    if vocabulary and vocabulary != num_outputs:
        raise UserError(
            f"the model {model} predicts tokens, of which there are {vocabulary}, but the targets are {num_outputs} "
            "classes: --model bert classifies"
        )


def window_of(model: str, window: int, length: int) -> int:
    """Return the number of learned positions: ``window``, or the length of a row where that is 0.

    Raises
    ------
    UserError
        If rows are longer.
    """
    if window and window < length:
        raise UserError(f"the model {model} has a window of {window} tokens, but rows have {length}")
    return window or length


def linear(num_inputs: int, num_outputs: int, *, std: float = STD, bias: bool = True) -> Linear:
    """Return a Linear whose weights are N(0, std^2) draws and whose biases are 0."""
    made = Linear(num_inputs, num_outputs, bias)
    initialize(made, std)
    return made


def initialize(layer: Layer, std: float = STD) -> None:
    """Let the weights of each Linear in ``layer`` begin as N(0, std^2) draws, and its bias as 0."""
    for each in layer.layers():
        if type(each) is Linear:
            each.weight.init = init.normal(std)
            if each.bias is not None:
                each.bias.init = init.zeros


def residual_std(depth: int) -> float:
    """Return the standard deviation of weights whose results are added to the shortcut (GPT-2).

    There are 2 depth such sums; divided by sqrt(2 depth), their variance does not grow with the depth.
    """
    return STD / math.sqrt(2 * depth)


def feed_forward(
    width: int, hidden: int, activation: Layer, *, last_std: float = STD, bias: bool = True, parts: int = 1
) -> Sequential:
    """Return Linear, activation, Linear: the network for each token; the activation makes 1 of ``parts`` numbers."""
    first = linear(width, parts * hidden, bias=bias)
    return Sequential(first, activation, linear(hidden, width, std=last_std, bias=bias))


def mixture_of_experts(
    width: int, hidden: int, activation: GELU | SwiGLU, mixture: Mixture, *, last_std: float = STD, bias: bool = True
) -> MixtureOfExperts:
    """Return a router and networks like ``feed_forward``."""
    experts = Experts(mixture.experts, width, hidden, activation, bias)
    experts.weight1.init, experts.weight2.init = init.normal(STD), init.normal(last_std)
    for p in (experts.bias1, experts.bias2):
        if p is not None:
            p.init = init.zeros
    made = MixtureOfExperts(experts, mixture.top_k, balance=mixture.balance, rate=mixture.rate)
    initialize(made)
    return made

"""A model divided among the ranks of one axis: the part of one rank."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..layers import Layer


def identity(array: Any) -> Any:
    """Return ``array``."""
    return array


class Division(NamedTuple):
    """This rank's part of a model.

    Attributes
    ----------
    model : Layer
        Names of parameters are those of the whole model.
    targets : callable(array) -> array
        The part of a batch of targets that belongs to this rank's outputs.
    outputs : Layer or None
        A move from this rank's outputs to the whole outputs on all ranks; None if they are whole.
    """

    model: Layer
    targets: Callable[[Any], Any] = identity
    outputs: Layer | None = None

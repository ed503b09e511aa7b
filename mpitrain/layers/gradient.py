"""Where an op puts the gradient of a parameter."""

from ..arena import Parameter
from ..ops import Gradient


def gradient_of(p: Parameter) -> Gradient:
    """Return the place of the gradient of ``p``, which the op says is written."""
    return Gradient(p.grad, p.accumulate, p.written)

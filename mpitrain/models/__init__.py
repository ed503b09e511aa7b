"""Networks by name. Each file is one network, to be read in one go."""

import inspect
from collections.abc import Callable
from functools import partial

from ..errors import UserError
from ..layers import Dropout, Layer, Sequential
from .convnet import convnet
from .lenet import lenet
from .mlp import mlp
from .resnet import resnet

MODELS: dict[str, Callable[..., Layer]] = {
    "convnet": convnet,
    "mlp": mlp,
    "lenet": lenet,
    **{f"resnet{depth}": partial(resnet, depth) for depth in (8, 20, 32, 56)},
}


def names() -> list[str]:
    """Return the names that ``build`` knows; the first is the default."""
    return list(MODELS)


def build(name: str, input_shape: tuple[int, ...], num_outputs: int, **options: object) -> Layer:
    """Return the model ``name``, ready to be bound to an arena.

    Parameters
    ----------
    name : str
        One of ``names()``.
    input_shape : tuple of int
        Of one sample: (features,) or (height, width, channels).
    num_outputs : int
        Classes, or values to predict.
    **options
        See the function of that name.

    Raises
    ------
    UserError
        For an unknown name or option, or a shape that the model cannot take.
    """
    if name not in MODELS:
        raise UserError(f"there is no model '{name}'; there are {', '.join(MODELS)}")
    make = MODELS[name]
    known = [p.name for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise UserError(f"the model '{name}' has no option '{option}'; it has {', '.join(known) or 'none'}")
    return prepare(make(tuple(input_shape), num_outputs, **options))


def prepare(model: Layer) -> Layer:
    """Return ``model`` after the settings that depend on the whole network (also for a user's own).

    The first layer with parameters computes no dx, and each Dropout gets its own number, so that no two draw the same
    masks.
    """
    skip_input_gradient(model)
    for number, dropout in enumerate(layer for layer in model.layers() if isinstance(layer, Dropout)):
        dropout.number = number
    return model


def skip_input_gradient(model: Layer) -> None:
    """Set ``needs_dx`` to False on the first layer with parameters, and on all that stands before it or holds it."""
    model.needs_dx = False
    if isinstance(model, Sequential):
        for layer in model:
            skip_input_gradient(layer)
            if any(layer.named_parameters()):
                break

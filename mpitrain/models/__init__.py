"""Models by name, one network per file."""

from functools import partial

from ..layers import Dropout, Layer, Recompute, Sequential
from ..registry import Registry
from .convnet import convnet
from .gpt import gpt
from .lenet import lenet
from .mlp import mlp
from .resnet import resnet

MODELS: Registry[Layer] = Registry(
    "model",
    {
        "convnet": convnet,
        "mlp": mlp,
        "lenet": lenet,
        **{f"resnet{depth}": partial(resnet, depth) for depth in (8, 20, 32, 56)},
        "gpt": gpt,
    },
    arguments=("input_shape", "num_outputs"),
    result=Layer,
)


def names() -> list[str]:
    """Return the names of the built-in models; the first is the default."""
    return MODELS.names()


def build(text: str, input_shape: tuple[int, ...], num_outputs: int, **options: object) -> Layer:
    """Return the model that ``text`` selects, ready to be bound to an arena.

    Parameters
    ----------
    text : str
        ``NAME``, ``NAME:key=value,key=value`` or ``FILE.py:FUNC`` (see ``registry``).
    input_shape : tuple of int
        The shape of one sample: (features,), (height, width, channels), or (tokens,) of a row of text.
    num_outputs : int
        The number of classes, or of values to predict.
    **options
        Options of the model, which those of ``text`` override.

    Raises
    ------
    UserError
        For an unknown name or option, or a shape that the model does not support.

    >>> len(build("mlp:widths=256+128", (64,), 10))
    6
    """
    return prepare(MODELS.make(text, tuple(input_shape), num_outputs, **options))


def prepare(model: Layer) -> Layer:
    """Return ``model`` after the settings that depend on the whole network (also for a user's own).

    The first layer with parameters computes no dx, and each Dropout gets its own number, so that no two draw the same
    masks. Parts of the model (``Sequential.part``) are taken after that.
    """
    skip_input_gradient(model)
    for number, dropout in enumerate(layer for layer in model.layers() if isinstance(layer, Dropout)):
        dropout.number = number
    return model


def skip_input_gradient(model: Layer) -> None:
    """Set ``needs_dx`` to False on the first layer with parameters, the layers before it, and those that contain it."""
    model.needs_dx = False
    if isinstance(model, Recompute):
        skip_input_gradient(model.layer)
    if isinstance(model, Sequential):
        for layer in model:
            skip_input_gradient(layer)
            if any(layer.named_parameters()):
                break

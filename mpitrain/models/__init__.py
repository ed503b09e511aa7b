"""Models by name, one network per file."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..data.dataset import Dataset
from ..errors import UserError
from ..layers import Layer
from ..registry import FILE, Registry
from . import densenet, resnet, vgg
from .adapt import add_lora, freeze, merge_lora, remove_lora
from .alexnet import alexnet
from .bert import bert
from .convnet import convnet
from .googlenet import googlenet
from .gpt import gpt
from .inception_v3 import inception_v3
from .lenet import lenet
from .llama import llama
from .mlp import mlp
from .mobilenet_v1 import mobilenet_v1
from .prepare import prepare
from .resnet_cifar import resnet_cifar
from .unet import unet
from .vit import vit

__all__ = [
    "MODELS",
    "Tokens",
    "add_lora",
    "build",
    "freeze",
    "merge_lora",
    "names",
    "prepare",
    "remove_lora",
]

MODELS: Registry[Layer] = Registry(
    "model",
    {
        "convnet": convnet,
        "mlp": mlp,
        "lenet": lenet,
        **{f"resnet{depth}": partial(resnet_cifar, depth) for depth in (8, 20, 32, 44, 56, 110)},
        **{name: partial(resnet.resnet, **size) for name, size in resnet.SIZES.items()},
        "resnet": resnet.resnet,
        "alexnet": alexnet,
        **{name: partial(vgg.vgg, **size) for name, size in vgg.SIZES.items()},
        "vgg": vgg.vgg,
        **{"googlenet": googlenet, "inception_v3": inception_v3, "mobilenet_v1": mobilenet_v1},
        **{name: partial(densenet.densenet, **size) for name, size in densenet.SIZES.items()},
        "densenet": densenet.densenet,
        "unet": unet,
        **{"gpt": gpt, "llama": llama, "bert": bert, "vit": vit},
    },
    arguments=("input_shape", "num_outputs"),
    result=Layer,
)


@dataclass(frozen=True)
class Tokens:
    """Facts about samples that are rows of tokens; a model gets those for which its function has an option.

    Attributes
    ----------
    vocabulary : int
        Number of different tokens.
    end_of_text : int or None
        The token between documents, if there is one.
    """

    vocabulary: int
    end_of_text: int | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> "Tokens | None":
        """Return those of a dataset; None where samples are no tokens."""
        return cls(dataset.vocabulary, dataset.end_of_text) if dataset.vocabulary else None

    def options(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return the options that ``function`` has, by name."""
        known = inspect.signature(function).parameters
        return {name: getattr(self, name) for name in ("vocabulary", "end_of_text") if name in known}


def names() -> list[str]:
    """Return the names of the built-in models; the first is the default."""
    return MODELS.names()


def build(
    text: str, input_shape: tuple[int, ...], num_outputs: int, *, tokens: Tokens | None = None, **options: object
) -> Layer:
    """Return the model that ``text`` selects, ready to be bound to an arena.

    Parameters
    ----------
    text : str
        ``NAME``, ``NAME:key=value,key=value`` or ``FILE.py:FUNC`` (see ``registry``).
    input_shape : tuple of int
        The shape of one sample: (features,), (height, width, channels), or (tokens,) of a row of text.
    num_outputs : int
        The number of classes, or of values to predict.
    tokens : Tokens, optional
        Given where the samples are rows of tokens.
    **options
        Options of the model, which those of ``text`` override.

    Raises
    ------
    UserError
        For an unknown name or option, a shape that the model does not support, or tokens for a model of numbers.

    >>> len(build("mlp:widths=256+128", (64,), 10))
    6
    """
    if tokens is not None:
        function, name, _ = MODELS.find(text)
        options |= tokens.options(function)
        if "vocabulary" not in options and not FILE.match(text):
            takers = [one for one in MODELS if tokens.options(MODELS.find(one)[0])]
            hint = f"{', '.join(takers)} take{'s' * (len(takers) == 1)} these"
            raise UserError(f"the model {name} takes numbers, and the samples are tokens: {hint}")
    return prepare(MODELS.make(text, tuple(input_shape), num_outputs, **options))

"""Models by name, one network per file."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..data.categories import sizes_of
from ..data.dataset import Dataset
from ..data.matching.signature import Signature
from ..errors import UserError
from ..layers import Layer
from ..registry import FILE, Registry
from . import resnet
from .adapt import add_lora, freeze, merge_lora, remove_lora
from .audio_convnet import audio_convnet
from .bert import bert
from .convnet import convnet
from .dlrm import dlrm
from .gpt import gpt
from .lenet import lenet
from .literature import LITERATURE
from .llama import llama
from .matrix_factorization import mf
from .mlp import mlp
from .ncf import ncf
from .prepare import prepare
from .resnet_cifar import resnet_cifar
from .two_tower import two_tower
from .unet import unet
from .vit import vit

__all__ = [
    "MODELS",
    "Codes",
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
        **LITERATURE,
        "unet": unet,
        "audio-convnet": audio_convnet,
        "dlrm": dlrm,
        **{"gpt": gpt, "llama": llama, "bert": bert, "vit": vit},
        **{"mf": mf, "ncf": ncf, "two-tower": two_tower},
    },
    arguments=("input_shape", "num_outputs"),
    result=Layer,
)


@dataclass(frozen=True)
class Codes:
    """Facts about samples that are whole numbers, of which a model gets those for which its function has an option.

    Attributes
    ----------
    vocabulary : int
        Number of different tokens; 0 where samples are no rows of tokens.
    end_of_text : int or None
        The token between documents, if there is one.
    categories : tuple of int
        Number of codes of each column of a table, 0 for a column of numbers; empty where all columns are numbers.
    """

    vocabulary: int = 0
    end_of_text: int | None = None
    categories: tuple[int, ...] = ()

    @classmethod
    def of(cls, data: Dataset | Signature) -> "Codes | None":
        """Return those of a dataset or a signature; None where samples are numbers only."""
        sizes = sizes_of(data.categories)
        return cls(data.vocabulary, data.end_of_text, sizes) if data.vocabulary or sizes else None

    def options(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return the options that ``function`` has, by name."""
        known = inspect.signature(function).parameters
        own = ("vocabulary", "end_of_text") if self.vocabulary else ("categories",)
        return {name: getattr(self, name) for name in own if name in known}

    def refuse(self, model: str) -> UserError:
        """Return the error of a model that takes no such samples."""
        takers = [one for one in MODELS if self.options(MODELS.find(one)[0])]
        hint = f"{', '.join(takers)} take{'s' * (len(takers) == 1)} these"
        samples = "the samples are tokens" if self.vocabulary else "some columns are categories"
        return UserError(f"the model {model} takes numbers, and {samples}: {hint}")


def names() -> list[str]:
    """Return the names of the built-in models; the first is the default."""
    return MODELS.names()


def build(
    text: str, input_shape: tuple[int, ...], num_outputs: int, *, codes: Codes | None = None, **options: object
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
    codes : Codes, optional
        Given where the samples are rows of tokens, or columns of a table are categories.
    **options
        Options of the model, which those of ``text`` override.

    Raises
    ------
    UserError
        For an unknown name or option, a shape that the model does not support, or codes for a model of numbers.

    >>> len(build("mlp:widths=256+128", (64,), 10))
    6
    """
    if codes is not None:
        function, name, _ = MODELS.find(text)
        own = codes.options(function)
        options |= own
        if not own and not FILE.match(text):
            raise codes.refuse(name)
    return prepare(MODELS.make(text, tuple(input_shape), num_outputs, **options))

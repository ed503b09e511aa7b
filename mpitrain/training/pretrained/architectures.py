"""All architectures by name."""

from ...errors import UserError
from ...layers import Layer, MixtureOfExperts, Sequential
from ...registry import short_name
from .architecture import Architecture
from .bert import BERT
from .distilbert import DISTILBERT
from .gpt2 import GPT2
from .llama import LLAMA
from .resnet import RESNET
from .vit import VIT

ARCHITECTURES = {one.kind: one for one in (GPT2, LLAMA, BERT, DISTILBERT, VIT, RESNET)}


def architecture_of(text: str, model: Layer) -> Architecture:
    """Return the architecture that ``model``, made from ``text``, is written as.

    Raises
    ------
    UserError
        If there is none.
    """
    if any(isinstance(layer, MixtureOfExperts) for layer in model.layers()):
        raise UserError(f"{text} has experts, and no model with experts can be exported yet")
    for one in ARCHITECTURES.values():
        if short_name(text) in (one.model, *one.sizes) and isinstance(model, Sequential) and one.is_kind(model):
            return one
    names = ", ".join(sorted({name for one in ARCHITECTURES.values() for name in (one.model, *one.sizes)}))
    raise UserError(f"{text} is no model that Hugging Face's transformers has: {names} are")

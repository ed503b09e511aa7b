"""All architectures by name."""

from ...errors import UserError
from ...layers import Layer, Sequential
from ...registry import short_name
from .architecture import Architecture
from .bert import BERT
from .distilbert import DISTILBERT
from .gpt2 import GPT2
from .llama import LLAMA
from .vit import VIT

ARCHITECTURES = {one.kind: one for one in (GPT2, LLAMA, BERT, DISTILBERT, VIT)}


def architecture_of(text: str, model: Layer) -> Architecture:
    """Return the architecture that ``model``, made from ``text``, is written as.

    Raises
    ------
    UserError
        If there is none.
    """
    for one in ARCHITECTURES.values():
        if one.model == short_name(text) and isinstance(model, Sequential) and one.is_kind(model):
            return one
    names = ", ".join(sorted({one.model for one in ARCHITECTURES.values()}))
    raise UserError(f"{text} is no model that Hugging Face's transformers has: {names} are")

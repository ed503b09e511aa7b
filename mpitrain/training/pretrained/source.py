"""Weights to begin with, by one string: ``FILE``, ``hf:DIR`` or ``gguf:FILE``."""

import json
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...models import MODELS
from ...option_values import format_value
from ...registry import FILE, short_name
from ..weights import read_metadata
from .architecture import Settings
from .architectures import ARCHITECTURES
from .checkpoint import CONFIG, TOKENIZER, OwnWeights, Pretrained, model_text
from .gguf import open_gguf
from .tensors import Safetensors

DEFAULT_MODEL = "convnet"  # of --model: not given


def open_weights(source: str) -> Pretrained | OwnWeights:
    """Return the weights that ``source`` names.

    Raises
    ------
    UserError
        If they are not there, or of a kind that our models do not compute.
    """
    kind, _, place = source.partition(":")
    if kind == "hf" and place:
        return open_folder(source, Path(place).expanduser())
    if kind == "gguf" and place:
        return open_gguf(source, Path(place).expanduser())
    path = Path(source).expanduser()
    if path.suffix != ".safetensors":
        raise UserError(
            f"--weights is hf:DIR, gguf:FILE, or a FILE.safetensors that mpitrain has written, not {source!r}"
        )
    tokenizer = path.parent / TOKENIZER
    facts = read_metadata(path)
    text, lora = str(facts.get("model", "")), str(facts.get("lora", ""))
    return OwnWeights(source, text, path, tokenizer if tokenizer.is_file() else None, lora=lora)


def open_folder(source: str, folder: Path) -> Pretrained:
    """Return the weights of a folder of Hugging Face."""
    settings = Settings(folder / CONFIG, _read_json(folder / CONFIG))
    name = settings.values.get("model_type")
    if name not in ARCHITECTURES:
        raise UserError(f"{folder / CONFIG}: there is no model for {name!r} here, only for {', '.join(ARCHITECTURES)}")
    kind = ARCHITECTURES[name]
    tokenizer = folder / TOKENIZER
    text = model_text(*kind.named(kind.options(settings)))
    return Pretrained(source, text, kind, Safetensors(folder), tokenizer if tokenizer.is_file() else None)


def merge_models(given: str, text: str, source: str) -> str:
    """Return the model of a checkpoint with further options that are given, such as dropout.

    Raises
    ------
    UserError
        If another model is given, or an option that the checkpoint has otherwise: its weights might fit, and compute
        something else.

    >>> merge_models("bert:dropout=0.1", "bert:depth=6,width=384", "hf:minilm")
    'bert:depth=6,width=384,dropout=0.1'
    """
    if given == DEFAULT_MODEL or not text:
        return text or given
    if FILE.match(given) or short_name(given) != short_name(text):
        raise UserError(f"{source} is a {short_name(text)}: --model {given} cannot take its weights (leave it out)")
    (_, name, own), (_, _, wanted) = MODELS.find(text), MODELS.find(given)
    for key, value in wanted.items():
        if own.get(key, value) != value:
            raise UserError(f"{source} has {key}={format_value(own[key])}: --model {given} cannot change that")
    return model_text(name, own | wanted)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged: it is no JSON object")
    return values

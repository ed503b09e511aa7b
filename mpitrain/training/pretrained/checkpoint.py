"""Weights to begin with, and the model that they are of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...arena import Arena
from ...errors import UserError
from ...layers import Layer, Sequential
from ...layers.lora import ADAPTER
from ...model_table import ModelTable
from ...option_values import format_value
from ..weights import check_weights, load_weights
from .architecture import Architecture
from .match import Match, match
from .rules import block_names, rules_of
from .tensors import Tensors

CONFIG, TOKENIZER = "config.json", "tokenizer.json"


@dataclass(frozen=True)
class Pretrained:
    """Weights of another program, and the model that they are of.

    Attributes
    ----------
    source : str
        As it was given.
    text : str
        Our model, as in --model.
    kind : Architecture
    tokenizer : Path or None
    """

    source: str
    text: str
    kind: Architecture
    tensors: Tensors
    tokenizer: Path | None = None

    @property
    def files(self) -> list[Path]:
        """The files that hold the weights."""
        return self.tensors.files

    def fit(self, model: Layer) -> Match:
        """Return the weights for ``model``; a UserError lists what does not fit."""
        if not isinstance(model, Sequential) or not block_names(model):
            raise UserError(f"{self.source} is a {self.kind.model}, and the model has no blocks")
        return match(self.source, self.tensors, rules_of(self.kind.table(model), model), self.kind)


@dataclass(frozen=True)
class OwnWeights:
    """Weights that mpitrain has written; see ``Pretrained``."""

    source: str
    text: str
    path: Path
    tokenizer: Path | None = None
    notes: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    lora: str = ""

    @property
    def files(self) -> list[Path]:
        """The file."""
        return [self.path]

    def fit(self, model: Layer) -> "OwnWeights":
        """Return itself if the tensors are those of ``model``, with adapters as ``lora`` says."""
        check_weights(self.path, ModelTable.of(model), but=ADAPTER)
        return self

    def load(self, arena: Arena) -> None:
        """Fill the tensors of the model that ``arena`` holds."""
        load_weights(self.path, arena)


def model_text(name: str, options: dict[str, Any]) -> str:
    """Return a model with options as in --model.

    >>> model_text("llama", {"depth": 2, "eps": 1e-05, "tied": True})
    'llama:depth=2,eps=1e-05,tied=true'
    """
    return f"{name}:" + ",".join(f"{key}={format_value(value)}" for key, value in options.items())

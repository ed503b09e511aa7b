"""Description of an architecture: its settings in config.json, and its table of names."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...layers import Layer, Linear, MultiHeadAttention, Sequential, TokenEmbedding
from .rules import Table, block_names


@dataclass(frozen=True)
class Architecture:
    """A kind of models of Hugging Face that one of ours computes.

    Attributes
    ----------
    kind : str
        ``model_type`` in config.json.
    model : str
        The name of our model.
    options : callable(Settings) -> dict
        Options of our model; raises a UserError for what it does not compute.
    table : callable(Sequential) -> Table
    settings : callable(Sequential) -> dict
        config.json of a model of ours.
    is_kind : callable(Sequential) -> bool
        Whether a model of that name is of this kind (BERT or DistilBERT).
    base : str
        The beginning of the names that a checkpoint without a head leaves out.
    buffers : str
        Pattern of the names of arrays that can be computed, and that we do not read.
    heads : str
        Pattern of the names of further heads: those that our model does not have are left out, with a note.
    unused : callable(iterable of str) -> dict of str to array
        Further arrays that ``transformers`` asks for and our models do not have, by the names of those that they have.
    sizes : dict of str to dict
        Other names of our model, with the options that each of them stands for.
    """

    kind: str
    model: str
    options: "Callable[[Settings], dict[str, Any]]"
    table: Callable[[Sequential], Table]
    settings: Callable[[Sequential], dict[str, Any]]
    is_kind: Callable[[Sequential], bool] = lambda model: True
    base: str = ""
    buffers: str = ""
    heads: str = ""
    unused: Callable[[Iterable[str]], dict[str, np.ndarray]] = lambda names: {}
    sizes: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def named(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the name of our model with these options, and those of them that the name does not stand for."""
        for name, own in self.sizes.items():
            if own.items() <= options.items():
                return name, {key: value for key, value in options.items() if key not in own}
        return self.model, options


class Settings:
    """Settings of a config.json, with the defaults of ``transformers``."""

    def __init__(self, path: Path, values: dict[str, Any]):
        self.path, self.values = path, values

    def number(self, key: str, default: float | None = None) -> Any:
        """Return a positive number.

        Raises
        ------
        UserError
            If it is not there and has no default, or is no such number.
        """
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise UserError(f"{self.path}: {key} is {value!r}, but must be a positive number")
        return value

    def numbers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return a list of positive whole numbers.

        Raises
        ------
        UserError
            If it is no such list.
        """
        values = self.values.get(key)
        values = default if values is None else values
        if not isinstance(values, list | tuple) or not all(type(value) is int and value > 0 for value in values):
            raise UserError(f"{self.path}: {key} is {values!r}, but must be a list of positive whole numbers")
        return tuple(values)

    def only(self, key: str, default: Any, *allowed: Any) -> None:
        """Raise a UserError if a setting is not one of those that our model computes."""
        value = self.values.get(key, default)
        if value not in allowed:
            wanted = " or ".join(repr(one) for one in allowed)
            raise UserError(f"{self.path}: {key} is {value!r}, but our model computes {wanted} only")


def embedding_of(model: Sequential) -> TokenEmbedding:
    """Return the first layer of a network of tokens."""
    layer = model[0]
    assert isinstance(layer, TokenEmbedding)
    return layer


def first_block(model: Sequential) -> Any:
    """Return the first block of a transformer."""
    return dict(model.children())[block_names(model)[0]]


def attention_of(model: Sequential) -> MultiHeadAttention:
    """Return the attention of the first block."""
    attention: MultiHeadAttention = first_block(model).attention
    return attention


def hidden_size(model: Sequential) -> int:
    """Return the size inside of the feed-forward networks: the inputs of their last Linear."""
    last: Any = first_block(model).mlp[2]
    size: int = last.num_inputs
    return size


def last_layer(model: Sequential) -> Layer:
    """Return the last layer."""
    layer = model[len(model) - 1]
    assert isinstance(layer, Layer)
    return layer


def labels_of(model: Sequential) -> dict[str, int]:
    """Return the setting for the number of classes, where the last layer is a Linear for these."""
    last = last_layer(model)
    return {"num_labels": last.num_outputs} if isinstance(last, Linear) else {}


def positions_of(model: Sequential) -> int:
    """Return the number of learned positions."""
    positions = embedding_of(model).positions
    return 0 if positions is None else positions.shape[0]


def dropout_of(model: Sequential) -> float:
    """Return the probability of dropout in attention, which is that of the model."""
    return attention_of(model).dropout

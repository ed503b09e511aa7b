"""Rules of axis context: how its ranks divide the tokens of each row.

The first layer takes whole rows and gives the vectors of this rank's tokens; attention exchanges what its queries need
(``Ulysses`` or ``RingAttention``); all other layers take tokens one by one and stay as they are. The outputs, and the
targets, are those of this rank's tokens. A model that goes on with the first token of a row, as classifiers do, has its
outputs on the rank with this token; the others have none.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from ...comm.group import Group
from ...errors import UserError
from ...layers import (
    Dropout,
    FirstToken,
    Layer,
    LoRALinear,
    MultiHeadAttention,
    PatchEmbedding,
    Sequential,
    TokenEmbedding,
    Unit,
)
from ...layers.per_token import PER_TOKEN
from ...models.adapt import places
from ..division import Division
from .attention import ContextAttention
from .dropout import DropoutPart
from .heads import Heads
from .inputs import InputPart, PatchEmbeddingPart, TokenEmbeddingPart
from .outputs import FirstTokenPart, GatherRows, GatherTokens
from .parts import TokenParts
from .ring import RingAttention
from .ulysses import Ulysses

METHODS = ("auto", "ulysses", "ring")
"""Ways to compute attention: auto takes ulysses where the heads divide among the ranks, else ring."""

FORWARDS = {layer.forward for layer in (*PER_TOKEN, PatchEmbedding)}
"""Layers that take tokens one by one, or are divided, by their forward: a subclass may have another one.

Other layers say that they do so by an attribute ``per_token`` that is true.
"""


def check(model: Layer, size: int, input_shape: tuple[int, ...], method: str = "auto", tensor: int = 1) -> None:
    """Raise a UserError if ``size`` ranks cannot divide the tokens of ``model``; it is not changed.

    Parameters
    ----------
    model : Layer
    size : int
    input_shape : tuple of int
    method : str
        One of ``METHODS``.
    tensor : int
        Ranks of axis tensor, which divide the heads before.
    """
    if method not in METHODS:
        raise UserError(f"there is no way '{method}' to divide attention over axis context, only {', '.join(METHODS)}")
    heads = _heads_of_ranks(model, tensor)
    if not heads or not isinstance(model, Sequential):
        raise UserError("axis context divides the tokens of attention, and the model has none: use axis data")
    for unit in _units_of_tokens(model):
        for name, layer in _below(unit):
            if type(layer).forward not in FORWARDS and not getattr(layer, "per_token", False):
                raise UserError(f"axis context does not divide {name}, a {layer.kind}: it may need all tokens of a row")
    _check_heads(min(heads), size, method)


def divide(model: Layer, group: Group, input_shape: tuple[int, ...], method: str = "auto", tensor: int = 1) -> Division:
    """Return this rank's part of a prepared model without memory, of which layers are replaced; all ranks call it.

    Raises
    ------
    UserError
        If ``method`` is ulysses and a layer has fewer heads than there are ranks.
    """
    assert isinstance(model, Sequential)
    attentions = _attentions(model)
    heads = _heads_of_ranks(model, tensor)  # the same on all ranks of axis tensor, whatever part each has
    _check_heads(min(heads), group.size, method)
    if method == "auto":
        method = "ring" if any(count % group.size for count in heads) else "ulysses"
    zigzag = method == "ring" and all(layer.causal for layer in attentions)
    parts = (TokenParts.zigzag if zigzag else TokenParts.contiguous)(_length(model, input_shape), group.size)
    needed = model.needs_dx
    first = next((unit for unit in model.units() if isinstance(unit.layer, FirstToken)), None)
    for unit in list(_units_of_tokens(model)):
        _divide_below(unit, group, parts, method)
    begin = model.units()[0]
    _put(begin, _input_part(begin.layer, parts, group.rank))
    if first is not None:
        _put(first, FirstTokenPart(owns=0 in parts.numbers(group.rank)))
    model.ask_dx(needed)
    group.job.note(say_method(method, parts, group.size))
    if first is not None:
        return Division(model, partial(_targets_of_rows, 0 in parts.numbers(group.rank)), GatherRows(group))
    return Division(model, partial(_targets_of_tokens, parts, group.rank), GatherTokens(group, parts))


def _attentions(model: Layer) -> list[MultiHeadAttention]:
    return [layer for layer in model.layers() if isinstance(layer, MultiHeadAttention)]


def _heads_of_ranks(model: Layer, tensor: int) -> list[int]:
    """Return the numbers of heads that ranks of axis tensor have of the attentions of a model, or of a part of it."""
    found = set()
    for layer in model.layers():
        if isinstance(layer, MultiHeadAttention):
            group = layer.num_heads // layer.num_kv_heads
            total = layer.place[1] // group
            found |= {group * (total // tensor), group * -(-total // tensor)}
    return sorted(found)


def say_method(method: str, parts: TokenParts, size: int) -> str:
    """Return the sentence about how tokens are divided."""
    order = "zigzag" if any(len(runs) > 1 for runs in parts.runs) else "neighbors"
    how = {"ulysses": "attention by heads (ulysses)", "ring": "keys and values go round (ring)"}[method]
    return f"axis context: {parts.length} tokens a row on {size} ranks ({order}), {how}"


def _check_heads(fewest: int, size: int, method: str) -> None:
    if method == "ulysses" and fewest < size:
        raise UserError(
            f"--context ulysses divides {fewest} heads, which {size} ranks cannot divide: the nearest number is "
            f"--mesh context={fewest}, and --context ring takes any"
        )


def _units_of_tokens(model: Sequential) -> Iterator[Unit]:
    """Yield the units up to the one that goes on with the first token of a row."""
    for unit in model.units():
        if isinstance(unit.layer, FirstToken):
            return
        yield unit


def _below(unit: Unit) -> Iterator[tuple[str, Layer]]:
    """Yield (name, layer) of a unit and of all layers in it."""
    yield unit.name, unit.layer
    if isinstance(unit.layer, LoRALinear | TokenEmbedding | PatchEmbedding):
        return
    for place in places(unit.layer, f"{unit.name}."):
        if place.home.kind not in ("LoRALinear", "Adapter", "TokenEmbedding", "PatchEmbedding"):
            yield place.name, place.layer


def _divide_below(unit: Unit, group: Group, parts: TokenParts, method: str) -> None:
    """Put parts in the places of a unit and of the layers in it."""
    for place in list(places(unit.layer)):
        made = _part(place.layer, group, parts, method)
        if made is not None:
            place.home.replace(place.key, made)
    made = _part(unit.layer, group, parts, method)
    if made is not None:
        _put(unit, made)


def _part(layer: Layer, group: Group, parts: TokenParts, method: str) -> Layer | None:
    """Return the layer for this rank's tokens; None for the same one."""
    if isinstance(layer, Dropout) and type(layer).forward is Dropout.forward:
        return DropoutPart(layer, parts, group.rank)
    if not isinstance(layer, MultiHeadAttention) or type(layer).forward is not MultiHeadAttention.forward:
        return None
    core = Ulysses if method == "ulysses" else RingAttention
    return ContextAttention(layer, core(Heads.of(layer), group, parts))


def _input_part(layer: Layer, parts: TokenParts, rank: int) -> Layer:
    if isinstance(layer, TokenEmbedding):
        return TokenEmbeddingPart(layer, parts, rank)
    return (PatchEmbeddingPart if isinstance(layer, PatchEmbedding) else InputPart)(layer, parts, rank)


def _length(model: Sequential, input_shape: tuple[int, ...]) -> int:
    """Return T, the tokens of a row."""
    first = model.units()[0].layer
    return first.positions.full_shape[0] if isinstance(first, PatchEmbedding) else input_shape[0]


def _put(unit: Unit, layer: Layer) -> None:
    unit.home.replace(unit.name.rpartition(".")[2], layer)


def _targets_of_tokens(parts: TokenParts, rank: int, targets: Any) -> Any:
    """Return the targets (N, T_r) of this rank's tokens."""
    return parts.take(targets, rank)


def _targets_of_rows(owns: bool, targets: Any) -> Any:
    """Return the targets of all rows on the rank with their first tokens, and of none on the others."""
    return targets if owns else targets[:0]

"""Training of a part of a model: frozen parameters, and low-rank adapters beside frozen weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..layers import Layer, Linear, LoRALinear
from ..lora_options import QUERIES_AND_VALUES, LoRAOptions, given_options
from ..name_patterns import matches, select
from .prepare import prepare


class Place(NamedTuple):
    """A layer under its name in the model; ``home`` holds it as its child ``key``."""

    name: str
    layer: Layer
    home: Layer
    key: str


def places(layer: Layer, prefix: str = "") -> Iterator[Place]:
    """Yield all layers below ``layer``, each before those in it."""
    for key, child in layer.children():
        yield Place(f"{prefix}{key}", child, layer, key)
        yield from places(child, f"{prefix}{key}.")


def adapted(model: Layer) -> dict[str, LoRALinear]:
    """Return the Linears with adapters by name."""
    return {place.name: place.layer for place in places(model) if isinstance(place.layer, LoRALinear)}


def freeze(model: Layer, patterns: str | Sequence[str]) -> Layer:
    """Freeze the parameters of ``model`` that patterns match, and return it, prepared; call it before an ``Arena``.

    Parameters
    ----------
    patterns : str or sequence of str
        Shell-style patterns of names of parameters, or of layers for all in them; in a text, with commas between them.

    Raises
    ------
    UserError
        If a pattern matches nothing, or nothing is left to train.

    >>> from mpitrain.models import build
    >>> model = freeze(build("mlp:widths=8+8", (4,), 3), "1.*,3.weight")
    >>> [name for name, p in model.named_parameters() if not p.frozen]
    ['3.bias', '5.weight', '5.bias']
    """
    parts = [part.strip() for part in patterns.split(",")] if isinstance(patterns, str) else list(patterns)
    parameters = dict(model.named_parameters())
    for name in select("--freeze", parts, list(parameters)):
        parameters[name].frozen = True
    if not model.trains:
        raise UserError(f"--freeze {','.join(parts)} leaves no parameter of the model to train")
    return prepare(model)


def add_lora(model: Layer, options: LoRAOptions | str) -> Layer:
    """Put adapters beside Linears of ``model``, freeze all other parameters, and return it, prepared.

    Adapters that it has already are replaced. Names and first values of its own parameters do not change.

    Parameters
    ----------
    options : LoRAOptions or str
        As in --lora: ``"rank=8,alpha=16"``.

    Raises
    ------
    UserError
        If a pattern matches no Linear or parameter, or an option is wrong.

    >>> from mpitrain.models import build
    >>> model = add_lora(build("gpt:size=tiny,depth=1", (8,), 50), "rank=4")
    >>> [name for name, p in model.named_parameters() if not p.frozen][:2]
    ['1.attention.qkv.lora_q.a', '1.attention.qkv.lora_q.b']
    """
    options = LoRAOptions(**given_options(options)) if isinstance(options, str) else options
    remove_lora(model)
    linears = [place for place in places(model) if type(place.layer) is Linear]
    chosen = _chosen(options, linears)
    parameters = dict(model.named_parameters())
    for p in parameters.values():
        p.frozen = True
    for name in select("train= in --lora", options.train, list(parameters)):
        parameters[name].frozen = False
    made: dict[int, LoRALinear] = {}  # a Linear may have several places
    for place in linears:
        if place.name in chosen:
            layer, parts = place.layer, chosen[place.name]
            assert isinstance(layer, Linear)
            if id(layer) not in made:
                made[id(layer)] = LoRALinear(layer, options.rank, options.scale, dropout=options.dropout, parts=parts)
            place.home.replace(place.key, made[id(layer)])
    return prepare(model)


def remove_lora(model: Layer) -> Layer:
    """Put Linears with the same parameters in the places of those with adapters, and train all; return ``model``."""
    found = [place for place in places(model) if isinstance(place.layer, LoRALinear)]
    made: dict[int, Linear] = {}
    for place in found:
        layer = place.layer
        assert isinstance(layer, LoRALinear)
        place.home.replace(place.key, made.setdefault(id(layer), layer.without_adapters()))
    if found:
        for _, p in model.named_parameters():
            p.frozen = False
    return model


def merge_lora(model: Layer, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors of ``model`` without adapters: these are added to the weights, in float64, rounded once.

    Parameters
    ----------
    model : Layer
        With adapters.
    tensors : mapping of str to array
        All its tensors by name.

    Raises
    ------
    UserError
        If another layer has the same weight, to which nothing is to be added.
    """
    found, layers = dict(tensors), adapted(model)
    for name, layer in layers.items():
        if layer.weight.uses > 1:
            raise UserError(f"{name} shares its weight with another layer, so its adapter cannot be merged into that")
        weight = found[f"{name}.weight"].astype(np.float64)
        for key, adapter, span in layer.adapters():
            a, b = (found.pop(f"{name}.{key}.{one}").astype(np.float64) for one in "ab")
            weight[:, span] += adapter.scale * (a @ b)
        found[f"{name}.weight"] = weight.astype(tensors[f"{name}.weight"].dtype)
    return found


def _chosen(options: LoRAOptions, linears: Sequence[Place]) -> dict[str, list[str]]:
    """Return the names of the parts of each Linear that get adapters; none for one over all of it."""
    parts_of = {place.name: list(_parts(place.layer)) for place in linears}
    names = [name for linear, parts in parts_of.items() for name in (linear, *(f"{linear}.{part}" for part in parts))]
    if options.on == QUERIES_AND_VALUES and not any(matches(one, name) for one in options.on for name in names):
        there = f"name others of it with on=PATTERN: {', '.join(names[:8])}" if names else "and no Linear at all"
        raise UserError(f"--lora adapts queries and values of attention, which the model does not have; {there}")
    select("on= in --lora", options.on, names, "Linear")
    chosen = dict[str, list[str]]()
    for name, parts in parts_of.items():
        if any(matches(pattern, name) for pattern in options.on):
            chosen[name] = []
        elif some := [part for part in parts if any(matches(one, f"{name}.{part}") for one in options.on)]:
            chosen[name] = some
    return chosen


def _parts(layer: Layer) -> Iterator[str]:
    assert isinstance(layer, Linear)
    yield from layer.spans()

"""A model described for ``planning``: its units with their products, memory and parameters; it needs no arena."""

import math
from typing import Any

from ..head_loss import LARGE
from ..layers import Layer, Linear, Sequential, TiedHead
from ..planning import Model, Unit
from . import flow_blocks, flow_columns, flow_images  # noqa: F401  (their rules)
from .flow import Costs, Value, flow
from .flow_rules import head, linear


def describe(model: Layer, input_shape: tuple[int, ...], name: str = "model", *, tokens: bool = False) -> Model:
    """Return the description of a model.

    Parameters
    ----------
    model : Layer
        Prepared or not; it needs no arena.
    input_shape : tuple of int
        Shape of one sample.
    name : str
    tokens : bool
        Samples are rows of tokens.

    Examples
    --------
    >>> from mpitrain.models import build
    >>> found = describe(build("mlp:widths=256+128", (64,), 10), (64,))
    >>> int(found.parameters), [unit.kind for unit in found.units][:2]
    (50826, ['Flatten', 'Linear'])
    """
    units = model.units() if isinstance(model, Sequential) else None
    named = [("", model)] if units is None else [(unit.name, unit.layer) for unit in units]
    x, made, owners = Value(input_shape), [], dict[int, str]()
    plain = [layer for _, layer in named if type(layer) is Linear]
    if plain and plain[-1].num_outputs >= LARGE:  # divided alone
        plain.pop()
    walked: list[tuple[str, Layer, Costs, Value]] = []
    for place, (unit_name, layer) in enumerate(named):
        costs = Costs()
        if place == len(named) - 1 and type(layer) is Linear and layer.num_outputs >= LARGE:
            y = head(layer.num_inputs, layer.num_outputs, x, costs)
            costs.own(layer, is_cut=True)
        elif type(layer) is Linear and len(plain) > 1:
            y = _linear(layer, plain, x, costs)
        else:
            y = flow(layer, x, costs)
        walked.append((unit_name, layer, costs, y))
        x = y
    for unit_name, layer, costs, y in walked:
        for _, p in layer.named_parameters():
            owners.setdefault(id(p), unit_name)
        more: dict[str, Any] = {"output": float(y.size), "is_block": any(True for _ in layer.children())}
        if isinstance(layer, TiedHead):
            more["shared"] = owners[id(layer.weight)]
        if tokens and len(input_shape) == 1 and len(y.shape) == 2 and "length" not in costs.found:
            costs.found["length"] = input_shape[0]
        made.append(_unit(costs, unit_name, layer, more))
    return Model(name, tuple(made), input_shape[0] if tokens else 0, float(math.prod(input_shape)))


def _unit(costs: Costs, name: str, layer: Layer, more: dict[str, Any]) -> Unit:
    if costs.found.get("heads"):
        costs.found.pop("width", None)  # the heads are the bound
    return costs.unit(name, layer.kind, **more)


def _linear(layer: Linear, plain: list[Linear], x: Value, costs: Costs) -> Value:
    """Return the output of one of several Linears of a network: columns and rows in turn, in pairs."""
    place = next(number for number, one in enumerate(plain) if one is layer)
    is_pair = place + (place + 1) % 2 < len(plain)
    if not is_pair:
        return linear(layer, x, costs, "")
    if place % 2:
        y = linear(layer, x, costs, "inputs")
        costs.largest("summed", y.size)
        return y
    y = linear(layer, x, costs, "outputs")
    costs.add("sums_back", 1)
    costs.largest("summed", x.size)
    return y

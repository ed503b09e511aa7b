"""The rule for each kind of layer: a function that adds its operators to a graph."""

from collections.abc import Callable
from typing import Any

from ...errors import UserError
from ...layers import Layer
from .graph import Graph, Value

Rule = Callable[[Any, Value, Graph], Value]
RULES: dict[type[Layer], Rule] = {}


def rule(*kinds: type[Layer]) -> Callable[[Rule], Rule]:
    """Register the rule of some kinds of layers."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def emit(layer: Layer, x: Value, graph: Graph) -> Value:
    """Add the operators of a layer, and return its output.

    Raises
    ------
    NoRule
        If it has none; a subclass with a forward of its own may do something else than its base.
    """
    for kind in type(layer).__mro__:
        if kind in RULES and type(layer).forward is kind.forward:
            return RULES[kind](layer, x, graph)
    raise NoRule(layer)


class NoRule(UserError):
    """A layer without a rule."""

    def __init__(self, layer: Layer):
        super().__init__(f"a layer {layer.kind} cannot be exported to ONNX: there are no operators for it")
        self.layer = layer

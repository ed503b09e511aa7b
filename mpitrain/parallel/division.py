"""The part of a model that one rank computes."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..layers import Layer


def _all_of(targets: Any) -> Any:
    return targets


class Division(NamedTuple):
    """The part of a model that one rank computes.

    Attributes
    ----------
    model : Layer
        Its parameters have the names that they have in the whole model.
    targets : callable(array) -> array
        The part of a batch of targets that belongs to the outputs of this rank.
    outputs : Layer or None
        A move from the outputs of this rank to those of all samples, on all ranks; None where they are that already.
    """

    model: Layer
    targets: Callable[[Any], Any] = _all_of
    outputs: Layer | None = None

    @property
    def gives_whole_outputs(self) -> bool:
        """True if the outputs of this rank are those of all samples."""
        return self.targets is _all_of

    def then(self, second: "Division") -> "Division":
        """Return this division, of whose model ``second`` is a division."""
        targets = self.targets if second.gives_whole_outputs else second.targets
        if not self.gives_whole_outputs and not second.gives_whole_outputs:
            targets = _InTurn(self.targets, second.targets)
        return Division(second.model, targets, second.outputs or self.outputs)


class _InTurn:
    """A function after another one."""

    def __init__(self, first: Callable[[Any], Any], second: Callable[[Any], Any]):
        self.first, self.second = first, second

    def __call__(self, targets: Any) -> Any:
        return self.second(self.first(targets))

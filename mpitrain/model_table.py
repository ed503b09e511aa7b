"""The tensors of a whole model by name, of which the arena of a rank may hold some: those of a pipeline's stages."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from .parameter import Parameter, State, Tensor

AnyTensor = TypeVar("AnyTensor", bound=Tensor)


@runtime_checkable
class HasParameters(Protocol):
    """Protocol of a layer with parameters, as required by an arena."""

    def named_parameters(self) -> Iterable[tuple[str, Parameter]]:
        """Return the parameters by name, in forward order."""

    def named_states(self) -> Iterable[tuple[str, State]]:
        """Return the states by name, in forward order."""


class Entry(NamedTuple):
    """A tensor of the whole model; ``frozen`` for a parameter that is not trained."""

    name: str
    shape: tuple[int, ...]
    frozen: bool = False

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ModelTable:
    """Names and shapes of all tensors of a model, in the order of its arena and of its files; needs no memory.

    Attributes
    ----------
    parameters : tuple of Entry
        The last layer's first. A weight that several layers share is there once, by its first name in
        forward order.
    states : tuple of Entry
        In forward order.
    first_names : dict of str to str
        Every name of a tensor, with the one that it has here.

    Examples
    --------
    >>> from mpitrain.layers import Linear, Sequential
    >>> [entry.name for entry in ModelTable.of(Sequential(Linear(3, 2), Linear(2, 2))).parameters]
    ['1.bias', '1.weight', '0.bias', '0.weight']
    """

    parameters: tuple[Entry, ...]
    states: tuple[Entry, ...]
    first_names: dict[str, str]

    @classmethod
    def of(cls, model: HasParameters) -> "ModelTable":
        """Return the table of ``model``, which may still lack memory."""
        return cls.of_tensors(model.named_parameters(), model.named_states())

    @classmethod
    def of_tensors(
        cls, parameters: Iterable[tuple[str, Parameter]], states: Iterable[tuple[str, State]]
    ) -> "ModelTable":
        """Return the table of a model with these tensors, in forward order."""
        first_names: dict[str, str] = {}
        by_use = _entries(parameters, first_names)
        return cls(by_use[::-1], _entries(states, first_names), first_names)

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over all tensors in forward order: parameters, then states."""
        yield from reversed(self.parameters)
        yield from self.states

    @property
    def trained(self) -> tuple[Entry, ...]:
        """The parameters that are trained, in arena order."""
        return tuple(entry for entry in self.parameters if not entry.frozen)

    @property
    def frozen(self) -> tuple[Entry, ...]:
        """The parameters that are not, in arena order: behind the others."""
        return tuple(entry for entry in self.parameters if entry.frozen)

    @property
    def num_states(self) -> int:
        """The number of elements of all states."""
        return sum(entry.size for entry in self.states)

    def named(self, tensors: Iterable[tuple[str, AnyTensor]]) -> list[AnyTensor]:
        """Give each tensor its name in the whole model, and return them in their order without repetitions.

        Raises
        ------
        ValueError
            If one of them is no tensor of the model.
        """
        shapes = {entry.name: entry.shape for entry in self}
        found: dict[int, AnyTensor] = {}
        for name, tensor in tensors:
            if id(tensor) in found:
                continue
            first = self.first_names.get(name)
            if first is None or shapes[first] != tensor.full_shape:
                raise ValueError(f"the whole model has no tensor {name} of shape {tensor.full_shape}")
            tensor.name = first
            found[id(tensor)] = tensor
        return list(found.values())


def _entries(tensors: Iterable[tuple[str, Tensor]], first_names: dict[str, str]) -> tuple[Entry, ...]:
    """Return the tensors without repetitions, and note the first name of each name."""
    found: dict[int, Entry] = {}
    for name, tensor in tensors:
        frozen = isinstance(tensor, Parameter) and tensor.frozen
        entry = found.setdefault(id(tensor), Entry(name, tensor.full_shape, frozen))
        first_names[name] = entry.name
    return tuple(found.values())

"""A model cut into the stages of a pipeline, and the parts of it that one rank has."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ...context import Context
from ...device import CPU, Device
from ...layers import Layer, Part, Parts, Unit
from ...pipelines import Program


class Border(NamedTuple):
    """What a stage hands on to the next one: shape for one sample, and dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Stages:
    """The stages of a model, of which rank ``rank`` of the pipeline has those that the program gives to it.

    Parameters
    ----------
    units : sequence of Unit
        Of the whole model, which is prepared (``models.prepare``); those of other ranks need no memory.
    stops : sequence of int
        The number of the first unit after each stage; the last one is the number of units.
    program : Program
    rank : int
    sample : (1, ...) array
        A sample of zeros.
    device : Device

    Attributes
    ----------
    program : Program
    own : dict of int to Part
        The stages of this rank by their numbers, in ascending order.
    borders : list of Border
        What each stage hands on; the last one's are the outputs.
    returns : list of bool
        Whether each stage returns a gradient to the one before: false where none of those before has parameters.
    model : Parts
        The stages of this rank as one: for names, parameters and layers, not to be run.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        stops: Sequence[int],
        program: Program,
        rank: int,
        sample: np.ndarray,
        device: Device = CPU,
    ):
        parts = [Part(units[first:stop]) for first, stop in pairwise([0, *stops])]
        self.program, self.rank, self.device = program, rank, device
        self.own = {stage: part for stage, part in enumerate(parts) if program.rank_of[stage] == rank}
        self.borders, x = list[Border](), sample
        for part in parts:
            x = output_like(part, x)
            self.borders.append(Border(x.shape[1:], x.dtype))
        self.returns = [stage > 0 and part.needs_dx for stage, part in enumerate(parts)]
        self.model = Parts(list(self.own.values()))

    @property
    def num_stages(self) -> int:
        """Stages of all ranks."""
        return len(self.borders)

    def tags(self, kind: str, stage: int) -> Callable[[int], int]:
        """Return the function from microbatches to the tags of what ``stage`` takes for its tasks of one kind."""
        m = self.program.num_microbatches
        first = ((kind == "B") * self.num_stages + stage) * m
        return lambda microbatch: first + microbatch

    @property
    def first_free_tag(self) -> int:
        """The least tag that is used for no task."""
        return 2 * self.num_stages * self.program.num_microbatches


def output_like(layer: Layer, x: np.ndarray) -> np.ndarray:
    """Return an array of the shape and dtype of ``layer(x)``, computed with weights of zero that take no memory.

    The layer needs no arena; what it is bound to is lost.
    """
    for _, tensor in [*layer.named_parameters(), *layer.named_states()]:
        tensor.data = np.zeros(tensor.shape, np.float32)  # pages of zeros that are never written take no memory
    y = layer.forward(x, Context(training=False))
    for _, tensor in [*layer.named_parameters(), *layer.named_states()]:
        tensor.data = np.empty(0, np.float32)
    return np.zeros(y.shape, y.dtype)

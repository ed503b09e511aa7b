"""A model cut into the stages of a pipeline, and the parts of it that one rank has."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ...context import Context
from ...device import CPU, Device
from ...layers import Layer, Part, Recompute, TokenEmbedding, Unit
from ...parameter import Parameter
from ...pipelines import Program
from .recompute import recomputed
from .tables import Recomputed
from .tied import Tied, find_tied, keep_own_uses


class Border(NamedTuple):
    """The array that a stage hands on to the next one.

    Attributes
    ----------
    shape : tuple of int
        For one sample.
    dtype : numpy dtype
    share : callable(int) -> slice
        The samples of a microbatch of so many that are in the array: not all where layers before have divided them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    share: Callable[[int], slice] = partial(slice, 0)

    def count(self, num_samples: int) -> int:
        """Return the samples in the array, of a microbatch of so many."""
        part = self.share(num_samples)
        return int(part.stop - part.start)


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
    recompute : Recomputed
        What is not kept for backward but computed again.

    Attributes
    ----------
    program : Program
    own : dict of int to Layer
        The stages of this rank by their numbers, in ascending order.
    borders : list of Border
        What each stage hands on; the last one's are the outputs.
    returns : list of bool
        Whether each stage returns a gradient to the one before: false where none of those before has parameters.
    tied : list of Tied
        Parameters that stages on several ranks share.
    rounds_samples : bool
        Whether samples become activations at the door: not where a stage takes codes among numbers.
    tokens : TokenEmbedding or None
        The first layer of the model, where the layers of all stages need its facts about rows of tokens. Then all ranks
        take the samples, since stages hand on activations alone.
    model : Layer
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
        recompute: Recomputed = "off",
    ):
        parts = [recomputed(units[first:stop], recompute) for first, stop in pairwise([0, *stops])]
        self.program, self.rank, self.device = program, rank, device
        self.own = {stage: part for stage, part in enumerate(parts) if program.rank_of[stage] == rank}
        self.borders, x = list[Border](), sample
        share: Callable[[int], slice] = partial(slice, 0)
        codes = [_takes_codes(part) for part in parts]
        self.rounds_samples = not any(codes)
        for number, part in enumerate(parts):
            x = output_like(part, x)
            share = next(
                (layer.share_of_samples for layer in part.layers() if hasattr(layer, "share_of_samples")), share
            )
            is_activation = x.dtype == np.float32 and not any(codes[number + 1 :])
            dtype = device.activation_dtype if is_activation else x.dtype
            self.borders.append(Border(x.shape[1:], dtype, share))
        self.returns = [stage > 0 and part.needs_dx for stage, part in enumerate(parts)]
        self.tied: list[Tied] = find_tied(parts, program.rank_of)
        for tied in self.tied:
            keep_own_uses(tied, parts, list(self.own.values()))
        layers = (layer for unit in units for layer in unit.layer.layers() if isinstance(layer, TokenEmbedding))
        self.tokens = next((layer for layer in layers if layer.tells_layers), None)
        self.model = OwnStages(list(self.own.values()))

    @property
    def copies(self) -> list[Parameter]:
        """Parameters of this rank that the rank of an earlier stage has, too, and counts."""
        return [tied.parameter for tied in self.tied if self.rank in tied.ranks[1:]]

    @property
    def num_stages(self) -> int:
        """Stages of all ranks."""
        return len(self.borders)

    @property
    def has_first(self) -> bool:
        """True on the rank of the first stage."""
        return 0 in self.own

    @property
    def takes_samples(self) -> bool:
        """True on a rank that needs the samples."""
        return self.has_first or self.tokens is not None

    @property
    def has_last(self) -> bool:
        """True on the rank that has the outputs."""
        return self.num_stages - 1 in self.own

    def tags(self, kind: str, stage: int) -> Callable[[int], int]:
        """Return the function from microbatches to the tags of what ``stage`` takes for its tasks of one kind."""
        m = self.program.num_microbatches
        first = ((kind == "B") * self.num_stages + stage) * m
        return lambda microbatch: first + microbatch

    def tied_tag(self, number: int) -> int:
        """Return the tag of the gradients of one of the tied parameters."""
        return 2 * self.num_stages * self.program.num_microbatches + number

    def forward_tag(self, stage: int) -> int:
        """Return the tag of what ``stage`` takes in forward passes alone, where messages come in order."""
        return self.tied_tag(len(self.tied)) + stage


def _takes_codes(part: Layer) -> bool:
    """Return whether a stage takes columns of which some may be codes: what comes to it are samples still."""
    return any(getattr(layer, "only_codes", None) is not None for layer in part.layers())


class OwnStages(Layer):
    """Several stages as one, for the names of layers, parameters and states; each runs by itself.

    Parameters
    ----------
    stages : sequence of Layer
    """

    def __init__(self, stages: Sequence[Layer]):
        self._stages = tuple(stages)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Raise a TypeError: between these stages there may be some of other ranks, so they have no common output."""
        raise TypeError("stages of a pipeline run one by one, by PipelineRunner or PipelineForward")

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Raise a TypeError, for the same reason."""
        raise TypeError("stages of a pipeline run one by one, by PipelineRunner")

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Yield the children of all stages."""
        for stage in self._stages:
            yield from stage.children()

    def layers(self) -> Iterator[Layer]:
        """Yield the stages and all layers below them."""
        for stage in self._stages:
            yield from stage.layers()

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield (dotted name, layer) of what runs in the stages."""
        for stage in self._stages:
            yield from stage.running(prefix)

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        for stage in self._stages:
            yield from stage._named(prefix, kind)


def poll_between_layers(stage: Layer, poll: Callable[[], object]) -> None:
    """Call ``poll`` after each layer of a stage."""
    part = stage.layer if isinstance(stage, Recompute) else stage
    if isinstance(part, Part):
        part.between = poll


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

"""Codecs: how gradients are shortened on their way between the ranks.

Two kinds, by how their messages are summed:

    linear      messages are float32, and their sum is the message of the sum: any all-reduce carries them
    others      messages are bytes, which only a codec can add: they travel by an exchange of their own

A codec plans the exchange of one bucket as a few stages: work on this rank, then a request. The step's header (weight,
losses, requests) is never encoded.

With error feedback, what a message leaves out is kept and added to the next gradient (Karimireddy et al. 2019, "Error
feedback fixes SignSGD and other gradient compression schemes"). Gradients are sums over samples, and the next step may
have fewer of them: the error is kept for each unit of this rank's weight, and added times the weight of the next step,
as if its samples had that error in their mean. So a short last batch is not flooded by the error of a long one, any
number of ranks can take over the errors of others, and a rank without samples keeps its own for later.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from ...arena import Parameter
from ...comm.schedule.plan import Request
from ...errors import UserError
from ..buckets import find_gaps
from .scale import StepScale


class Stage(NamedTuple):
    """Work on this rank, and the request that is started after it."""

    work: Callable[[], None]
    request: Request


class BucketPlan(NamedTuple):
    """Exchange of one bucket.

    Attributes
    ----------
    stages : sequence of Stage
        One or two.
    end : callable()
        Writes the sums to the gradients, after the last stage.
    message_bytes : int
        Bytes that stand for the gradients of the bucket.
    """

    stages: Sequence[Stage]
    end: Callable[[], None]
    message_bytes: int


@dataclass(frozen=True)
class Span:
    """One bucket as a codec sees it.

    Attributes
    ----------
    number, start : int
        Number of the bucket, and the place of ``gradient`` in the arena.
    whole : (h + n,) array
        The gradients with the step's header before them, if they have it.
    header : (h,) array
        A view of it; h is 0 in all buckets but the first.
    gradient : (n,) array
    parameters : sequence of Parameter
    slots : mapping of str to (n,) array
        The codec's slots here.
    scale : StepScale
    """

    number: int
    start: int
    whole: np.ndarray
    header: np.ndarray
    gradient: np.ndarray
    parameters: Sequence[Parameter]
    scale: StepScale
    slots: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def error(self) -> np.ndarray:
        """The kept error (n,), or (0,) without feedback."""
        return self.slots.get("error", self.gradient[:0])

    def gaps(self) -> list[slice]:
        """Return the places between parameters, where zeros must stay."""
        return find_gaps(self.parameters, slice(self.start, self.start + self.gradient.size))


class Wire(Protocol):
    """Requests over the ranks of a group, which all of them make in the same order."""

    rank: int
    size: int

    def sum(self, message: np.ndarray, name: str) -> Request:
        """Return the all-reduce, by the algorithm of the run, of a message of float32."""

    def turn(self, message: np.ndarray, name: str) -> Request:
        """Return the all-to-all of P equal parts of a message; they arrive in ``result``."""

    def gather(self, message: np.ndarray, name: str) -> Request:
        """Return the all-gather of P equal parts of a message."""


class Codec(ABC):
    """Way to shorten gradients; the options of the command line are the arguments of its constructor.

    Attributes
    ----------
    linear : bool
        True if the sum of messages is the message of the sum.
    feedback : bool
    """

    linear: ClassVar[bool] = False
    feedback: bool = False

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of the slots of the arena's layout that it needs."""
        return ("error",) if self.feedback else ()

    @abstractmethod
    def plan(self, span: Span, wire: Wire) -> BucketPlan:
        """Return the exchange of a bucket; all ranks call it together."""


def check_fraction(fraction: float, codec: str) -> float:
    """Return a share of the elements; raise a UserError if it is none."""
    if not 0 < fraction <= 1:
        raise UserError(f"the codec '{codec}': fraction is {fraction:g}, but must be above 0 and at most 1")
    return fraction

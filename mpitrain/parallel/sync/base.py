"""The base of methods in which ranks take steps of their own, and meet to make their weights equal.

    step | step | ... | step, meeting | step | step | ... | step, meeting

In a step of its own a rank divides the sum of its gradients by the weight of its own samples and updates its own copy
of the weights: no message is sent. At a meeting two sums are sent. The first, small one comes before the update of that
step: the totals of the loss since the last meeting, requests to stop or save, and the number of steps that were not
finite. So the ranks agree whether to go on before anyone's weights reach another rank. The second is the mean of the
weights, each rank weighing as much as its samples since the last meeting.
"""

import math
import time
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ...arena import HEADER, Arena
from ...comm.group import Group
from ...errors import AgreedError
from ...optim import Optimizer
from ...step_header import StepHeader
from ..all_reduce_sync import AllReduceSync
from ..buckets import Bucket
from ..gradient_sync import WholeUpdateSync


class SyncParts(NamedTuple):
    """The parts of a run that a synchronization works on.

    Attributes
    ----------
    arena : Arena
    group : Group
        The ranks among which the samples are divided.
    all_reduce : str
        As in ``Group.plan_all_reduce``.
    bucket_bytes : int
    """

    arena: Arena
    group: Group
    all_reduce: str = "auto"
    bucket_bytes: int = 25 << 20


class SyncMethod(WholeUpdateSync):
    """A method of ``--sync``: made from ``SyncParts`` and keyword arguments, its options, before any message."""

    @abstractmethod
    def plan(self) -> None:
        """Plan the messages between ranks, if there are others; all ranks call it together."""

    @property
    def extra_bytes(self) -> int:
        """Bytes of the arrays that the method has made for itself."""
        made = [*vars(self).values(), *self.slots.values()]
        return sum(array.nbytes for array in made if isinstance(array, np.ndarray) and array.base is None)


class LocalSteps(SyncMethod):
    """Steps of each rank's own, and meetings at which the weights become their mean.

    A subclass takes ``parts`` and keyword arguments, its options, and says in ``is_due`` when the ranks meet.
    ``use_mean`` says what becomes of the mean: by default the weights of all ranks. Both do the same on all ranks.
    No message is sent before ``plan``, which all ranks call together.

    The optimizer's slots stay each rank's own, as in the literature, and checkpoints keep those of each.

    Parameters
    ----------
    parts : SyncParts

    Attributes
    ----------
    problem : str
        What is not finite in the step in progress of this rank, whose update is then left out; empty otherwise.
    num_bad : int
        At a meeting, the number of such steps since the last one, over all ranks.
    num_steps, num_meetings : int
        Those of this process, for the report.
    team_size : int
        Ranks that make each step together, so that gradients and header are sums over them.
    speaks : bool
        True for the one rank of such a team whose header counts at a meeting.
    """

    watches_gradients = False
    own_step = True
    own_slots = True

    def __init__(self, parts: SyncParts):
        super().__init__(parts.arena)
        self._parts, self._group = parts, parts.group
        self._values = parts.arena.values[: parts.arena.size]
        self.exchange: AllReduceSync | None = None
        self.algorithms, self.reasons = ["none"], list[str]()
        self.buckets = [Bucket(0, parts.arena.size, len(parts.arena.parameters))]
        self.problem, self.num_bad = "", 0
        self.num_steps = self.num_meetings = 0
        self.team_size, self.speaks = 1, True
        self._step = 0
        self._since = 0  # steps since the last meeting, with the one in progress
        self._totals, self._bad = np.zeros(StepHeader.NUM_TOTALS), 0  # of the steps before it
        self._own = np.zeros(StepHeader.NUM_TOTALS)  # of the step in progress
        self._norm, self._share = math.nan, 1 / parts.group.size
        self._seconds = 0.0

    def plan(self) -> None:
        """Plan the messages between ranks, if there are others."""
        if self._group.size > 1:
            self.exchange = AllReduceSync(*self._parts)
            self.algorithms, self.reasons = self.exchange.algorithms, self.exchange.reasons
            self.buckets = self.exchange.buckets

    # What a method says, the same on all ranks.

    @abstractmethod
    def is_due(self, step: int, since: int) -> bool:
        """Return whether the ranks meet after ``step``, the ``since``-th one after the last meeting; both from 1."""

    def begin_period(self) -> None:
        """Begin the steps up to the next meeting; the weights are equal on all ranks."""

    def share_of(self, own: float, total: float) -> float:
        """Return this rank's share in the mean, from the weight of its samples since the last meeting and of all."""
        return own / total if total > 0 else 1 / self._group.size

    def use_mean(self, values: np.ndarray, mean: np.ndarray) -> None:
        """Set ``values`` (n,), this rank's weights, by their ``mean`` (n,) over the ranks; equal on all ranks."""
        np.copyto(values, mean)

    def between(self) -> None:
        """End a step without a meeting, whose update is done."""

    @property
    def period(self) -> float:
        """Steps from one meeting to the next, for the figures that are shown before the run."""
        return 1.0

    # The protocol of GradientSync.

    def prepare(self, step: int, meet: bool) -> None:
        """Begin ``step``; with ``meet`` the ranks meet after it, whatever the method says."""
        self._step = step
        self._since += 1
        self.meets = meet or self.is_due(step, self._since)
        if self._since == 1:
            self.begin_period()

    def finish(self) -> None:
        """Look at this rank's gradients; at a meeting, put the sums over the ranks and steps into the header."""
        header = self._arena.header
        self._own = header[StepHeader.TOTALS].astype(np.float64)
        self._norm = super().norm()
        loss = float(self._own[1])
        self.problem = "" if math.isfinite(self._norm) else f"the norm of the gradient became {self._norm}"
        self.problem = self.problem if math.isfinite(loss) else f"the loss became {loss}"
        if self.meets:
            self._agree(header)

    def _agree(self, header: np.ndarray) -> None:
        """Sum the header over the ranks, with the totals of the steps since the last meeting, and set this share."""
        mine, size = self._totals + (0 if self.problem else self._own), self._group.size
        step = self._step % 256  # small, so that sums of squares are exact
        sums = np.array([*header, self._bad + bool(self.problem), step, step**2], np.float64)
        sums[StepHeader.TOTALS] = mine
        sums[:-2] *= self.speaks
        self._group.sum(sums)
        header[...] = sums[:-3]
        bad, steps, squares = sums[-3:].tolist()
        if steps**2 != size * squares:  # they have a variance
            raise AgreedError("ranks meet after other steps than each other: is_due must say the same on all", code=1)
        self.num_bad = int(bad)
        self._share = self.share_of(float(mine[0]) / self.team_size, float(sums[0]))

    def norm(self) -> float:
        """Return the norm of this rank's gradients."""
        return self._norm

    def divisor(self, weight: float) -> float:
        """Return the weight of this rank's own samples; 1 without any."""
        return float(self._own[0]) if self._own[0] > 0 else 1.0

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update this rank's weights, unless it had no samples, or something is not finite; then meet if it is due."""
        self._step_alone(optimizer, lr, scale)
        self._end_step()

    def _step_alone(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        if not self.problem:
            if self._own[0] > 0:
                optimizer.step(lr, scale)
            else:
                optimizer.step_count += 1  # it is the same on all ranks

    def skip(self) -> None:
        """Leave out the update of this rank; meet if it is due."""
        self._end_step()

    def _end_step(self) -> None:
        self._bad += bool(self.problem)
        self._totals += 0 if self.problem else self._own
        self.num_steps += 1
        begin = time.perf_counter()
        if self.meets:
            self.meet()
            self.num_meetings += 1
            self._since, self._bad = 0, 0
            self._totals[:] = 0
        else:
            self.between()
        self._seconds += time.perf_counter() - begin

    def take_seconds(self) -> float:
        """Return the seconds spent on meetings, and between them on other ranks, since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def meet(self) -> None:
        """Use the mean of all weights, and average running statistics."""
        self.use_mean(self._values[HEADER:], self.mean_of(self._values)[HEADER:])
        self.average_states()

    def average_states(self) -> None:
        """Average running statistics over the ranks, weighted by samples."""
        states = self._arena.states
        if states.size and self._group.size > 1:
            states *= self._share
            self._group.sum(states)

    def mean_of(self, array: np.ndarray) -> np.ndarray:
        """Return the mean of ``array`` (arena.size,) over the ranks, weighted by samples, in memory of the gradients.

        All ranks call it together.
        """
        if self.exchange is None:
            return array
        np.multiply(array, self._share, out=self._arena.gradients)
        self.sum_gradients(self.exchange)
        return self._arena.gradients

    def sum_gradients(self, exchange: AllReduceSync) -> None:
        """Sum the memory of the gradients over the ranks, header included."""
        exchange.begin()
        for p in self._arena.parameters:
            exchange.ready(p)
        exchange.finish()

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step, in the mean."""
        return int(self.bytes_per_meeting / self.period)

    @property
    def messages_per_step(self) -> float:
        """Messages that this rank sends in one step, in the mean (calls, where MPI does it)."""
        return 0 if self.exchange is None else round((self.exchange.messages_per_step + 1) / self.period, 2)

    @property
    def bytes_per_meeting(self) -> int:
        """Bytes that this rank sends at a meeting, as in a step where all ranks' gradients are summed."""
        return 0 if self.exchange is None else self.exchange.bytes_per_step

    @property
    def bytes_sent(self) -> float:
        """Bytes that this rank has sent up to now."""
        return float(self.num_meetings * self.bytes_per_meeting)

    def free(self) -> None:
        """Free the MPI requests."""
        if self.exchange is not None:
            self.exchange.free()

    def describe(self) -> str:
        """Return a description in a few words."""
        how = "one rank, nothing to send" if self.exchange is None else self.exchange.describe()
        return f"{self.title()}; {how}"

    def title(self) -> str:
        """Return the method in a few words."""
        return type(self).__name__

    def states_of_method(self, names: Iterable[str]) -> dict[str, Any]:
        """Return zeros (arena.size,) for the slots of a method, by their names."""
        return {name: np.zeros(self._arena.size, self._arena.dtype) for name in names}

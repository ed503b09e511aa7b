"""Measured steps: trainings on some ranks, and where the time of their steps goes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

QUARTER = 0.25  # of the steps, the fastest and the slowest, that do not count


class Case(NamedTuple):
    """A training to be measured.

    Attributes
    ----------
    ranks, threads : int
        Threads are those of BLAS, of each rank.
    batch : int
        Samples, or tokens, of a step, over all ranks.
    """

    ranks: int
    threads: int
    batch: int


@dataclass(frozen=True)
class Parts:
    """Seconds of a step: mean over the ranks.

    Attributes
    ----------
    compute, input : float
        A rank's own work, and its wait for samples.
    waiting : float
        For ranks that come later to the exchange of gradients, or for other stages of a pipeline.
    messages : float
        The exchange itself; where each rank updates its share of the weights, that is part of it.
    """

    compute: float
    input: float
    waiting: float
    messages: float

    @property
    def total(self) -> float:
        """The whole step."""
        return self.compute + self.input + self.waiting + self.messages

    def share(self, name: str) -> float:
        """Return a part as a share of the step."""
        value: float = getattr(self, name)
        return value / self.total if self.total else 0.0


PART_NAMES = tuple(field.name for field in fields(Parts))


@dataclass(frozen=True)
class Measured:
    """Trainings of one case, and the step of the one of median length.

    Attributes
    ----------
    case : Case
    parts : Parts
    seconds : tuple of float
        The step of each training.
    own : tuple of float
        Compute of single steps, of all ranks and trainings.
    facts : dict
        Facts of the first training (see ``training/time_steps.py``).
    """

    case: Case
    parts: Parts
    seconds: tuple[float, ...]
    own: tuple[float, ...]
    facts: dict[str, Any]

    @property
    def oversubscribed(self) -> bool:
        """True if ranks, or their threads, outnumbered cores."""
        return bool(self.facts["oversubscribed"]) or self.case.ranks * self.threads > self.facts["machine_cores"]

    @property
    def threads(self) -> int:
        """BLAS threads of each rank: no more than there are cores, whatever was asked for."""
        return int(self.facts["threads"])


def typical_parts(steps: np.ndarray) -> Parts:
    """Return the parts of a typical step: means over the ranks and the middle half of the steps, by their length.

    Parameters
    ----------
    steps : (ranks, steps, 4) array
        Seconds of compute, input, waiting for other stages, and exchange. The rank that comes last to an exchange does
        not wait in it: what others spend in it beyond that they spend waiting.
    """
    parts = np.array(steps, np.float64)
    exchange = parts[:, :, 3]
    late = exchange - exchange.min(axis=0)
    parts[:, :, 2] += late
    parts[:, :, 3] -= late
    means = parts.mean(axis=0)  # (steps, 4)
    order = np.argsort(means.sum(axis=1), kind="stable")
    cut = int(QUARTER * len(order))
    compute, waits_input, waiting, messages = means[order[cut : len(order) - cut]].mean(axis=0).tolist()
    return Parts(compute, waits_input, waiting, messages)


def summarize(case: Case, trainings: Sequence[dict[str, Any]]) -> Measured:
    """Return the summary of the trainings of one case, given the facts of each."""
    found = sorted(((typical_parts(np.array(facts["steps"])), facts) for facts in trainings), key=lambda p: p[0].total)
    own = [step[0] for _, facts in found for rank in facts["steps"] for step in rank]
    middle = found[len(found) // 2][0]
    return Measured(case, middle, tuple(parts.total for parts, _ in found), tuple(own), trainings[0])

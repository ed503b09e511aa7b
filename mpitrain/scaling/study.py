"""A study of scaling: which trainings are measured, and what follows from their times."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..collectives.price import Calibration
from ..errors import UserError
from .laws import Fit, fit
from .measured import Case, Measured
from .predict import Prediction, predict_step

FACTOR = 8  # of the largest measured number of ranks, up to which the law is continued


@dataclass(frozen=True)
class Plan:
    """The trainings of a study.

    Attributes
    ----------
    scaling : tuple of Case
        One for each number of ranks, the least first.
    alone : dict of Case to Case
        For those on several ranks, one rank with as many samples as a rank has there.
    threads : tuple of Case
        Ranks and threads on equal cores; empty if they are not compared.
    weak : bool
    """

    scaling: tuple[Case, ...]
    alone: dict[Case, Case]
    threads: tuple[Case, ...]
    weak: bool

    @property
    def cases(self) -> list[Case]:
        """All trainings, each once, the least ranks first."""
        return sorted(dict.fromkeys([*self.scaling, *self.alone.values(), *self.threads]))


def read_ranks(text: str) -> list[int]:
    """Return the numbers of ranks in a text, in order; by default powers of two up to the cores.

    Raises
    ------
    UserError
        If it is not a list of whole numbers from 1.

    Examples
    --------
    >>> read_ranks("4,1,2")
    [1, 2, 4]
    """
    if not text:
        return [1 << k for k in range(num_cores().bit_length())]
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--ranks is {text!r}, but must be numbers of ranks from 1, as in 1,2,4,8")
    return sorted({int(part) for part in parts})


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_plan(
    ranks: Sequence[int], batch: int, *, threads: int, cores: int, weak: bool, alone: bool, compare_threads: bool
) -> Plan:
    """Return the trainings for these numbers of ranks.

    Parameters
    ----------
    batch : int
        Samples of a step; with ``weak`` those of each rank.
    threads : int
        Of each rank.
    cores : int
        Of this machine.
    alone : bool
        Also measure one rank with the share of a rank, for predictions.
    compare_threads : bool
        Also divide the cores of the most ranks that have a core each, in all ways, into ranks and threads.

    Examples
    --------
    >>> plan = make_plan([1, 4], 64, threads=1, cores=4, weak=False, alone=True, compare_threads=True)
    >>> [tuple(case) for case in plan.cases]
    [(1, 1, 16), (1, 1, 64), (1, 4, 64), (2, 2, 64), (4, 1, 64)]
    """
    scaling = tuple(Case(n, threads, batch * n if weak else batch) for n in ranks)
    single = {
        case: Case(1, threads, math.ceil(case.batch / case.ranks)) for case in scaling if case.ranks > 1 and alone
    }
    used = max((n * threads for n in ranks if n * threads <= cores), default=cores)
    divided = tuple(Case(n, used // n, batch) for n in range(1, used + 1) if used % n == 0 and n <= batch)
    return Plan(scaling, single, divided if compare_threads else (), weak)


@dataclass(frozen=True)
class Study:
    """Measured trainings, and what follows from them.

    Attributes
    ----------
    plan : Plan
    measured : dict of Case to Measured
    calibration : Calibration or None
        Prices of messages for all numbers of ranks; None takes those measured in each training.
    """

    plan: Plan
    measured: Mapping[Case, Measured]
    calibration: Calibration | None = None

    @property
    def scaling(self) -> list[Measured]:
        """The trainings on different numbers of ranks, the least first."""
        return [self.measured[case] for case in self.plan.scaling]

    @property
    def threads(self) -> list[Measured]:
        """The trainings with different threads on equal cores."""
        return [self.measured[case] for case in self.plan.threads]

    @property
    def base(self) -> Measured:
        """The training on the least ranks."""
        return self.scaling[0]

    def speedup(self, one: Measured) -> float:
        """Return how many times as fast samples are trained on as on the least ranks."""
        return self.base.parts.total / one.parts.total * one.case.batch / self.base.case.batch

    def efficiency(self, one: Measured) -> float:
        """Return the speed-up as a share of the ranks, relative to the least."""
        return self.speedup(one) * self.base.case.ranks / one.case.ranks

    @cached_property
    def predictions(self) -> dict[Case, Prediction]:
        """The predicted steps on several ranks."""
        return {
            case: predict_step(self.measured[alone], self.measured[case], self.calibration)
            for case, alone in self.plan.alone.items()
        }

    @property
    def fitted(self) -> list[Measured]:
        """The trainings to which the law is fitted: those with a core for each rank, or all if these are too few."""
        with_cores = [one for one in self.scaling if not one.oversubscribed]
        return with_cores if len(with_cores) > 1 else self.scaling

    @property
    def law(self) -> Fit | None:
        """The fitted law, where it holds."""
        return self.fit if self.fit is not None and self.fit.holds else None

    @cached_property
    def fit(self) -> Fit | None:
        """The law that fits all trainings of ``fitted``; None with one number of ranks."""
        if len(self.fitted) < 2:
            return None
        pairs = [(one.case.ranks, seconds) for one in self.fitted for seconds in one.seconds]
        return fit("Gustafson" if self.plan.weak else "Amdahl", *zip(*pairs, strict=True))

    def further(self, most: int = 0) -> list[int]:
        """Return the numbers of ranks to extrapolate to: doublings of the largest measured one, up to ``most``."""
        largest = self.scaling[-1].case.ranks
        most = most or FACTOR * largest
        found = [largest << k for k in range(1, 64) if largest << k <= most]
        return found if found[-1:] == [most] else [*found, most]

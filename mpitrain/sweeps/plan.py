"""Plan of a sweep: all its trials, each with its values, its seed and its fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import Config
from ..errors import UserError
from .draw import MOST_TRIALS, grid, latin_hypercube, random_point
from .spec import SweepSpec


@dataclass(frozen=True)
class Trial:
    """A trial as planned.

    Attributes
    ----------
    number : int
        From 0.
    point : int
        Number of its point: trials of one point differ in seed or fold only.
    values : mapping
        Values of the parameters.
    seed : int
        Added to the seed of train.
    fold : int or None
        From 1.
    """

    number: int
    point: int
    values: Mapping[str, Any]
    seed: int = 0
    fold: int | None = None


def plan(spec: SweepSpec) -> list[Trial]:
    """Return the trials in order of their numbers.

    Raises
    ------
    UserError
        If a grid has more points than the sweep allows trials.
    """
    points = _points(spec)
    folds: list[int | None] = [*range(1, spec.kfold + 1)] or [None]
    variants = [(seed, fold) for seed in range(max(1, spec.seeds)) for fold in folds]
    if len(points) * len(variants) > MOST_TRIALS:
        raise UserError(f"there are {len(points) * len(variants):,} trials, and a sweep has at most {MOST_TRIALS:,}")
    pairs = [(p, values, s, f) for p, values in enumerate(points) for s, f in variants]
    return [Trial(number, p, values, s, f) for number, (p, values, s, f) in enumerate(pairs)]


def _points(spec: SweepSpec) -> Sequence[Mapping[str, Any]]:
    if spec.method == "grid":
        points = grid(spec.parameters)
        if spec.trials and len(points) > spec.trials:
            raise UserError(f"the grid has {len(points):,} points, and trials allows {spec.trials:,}")
        return points
    if spec.method == "latin-hypercube":
        return latin_hypercube(spec.parameters, spec.seed, spec.trials)
    return [random_point(spec.parameters, spec.seed, number) for number in range(spec.trials)]


def config_of(spec: SweepSpec, trial: Trial, values: Mapping[str, Any] | None = None) -> Config:
    """Return the settings of a trial; ``values`` replace those of the plan."""
    return spec.config(trial.values if values is None else values, trial.seed, trial.fold)


def order_of(spec: SweepSpec, trials: Sequence[Trial]) -> list[int]:
    """Return the numbers of the trials in the order in which they begin: the longest first where that is known.

    That is the rule of Graham (Bounds on multiprocessing timing anomalies, SIAM J. Appl. Math. 1969) by which the last
    rank ends at most a third later than in the best order; in any other it may be nearly twice as late.
    """
    known = [name for name in (spec.cost, "epochs", "steps") if name and any(name in one.values for one in trials)]

    def cost(trial: Trial) -> float:
        value = trial.values.get(known[0], 0) if known else 0
        return float(value) if type(value) in (int, float) else 0.0

    return [trial.number for trial in sorted(trials, key=lambda trial: (-cost(trial), trial.number))]


def say(values: Mapping[str, Any]) -> str:
    """Return the values of a trial in one line: "lr=0.01 batch-size=32"."""
    return " ".join(f"{name}={say_value(value)}" for name, value in values.items())


def say_value(value: Any) -> str:
    """Return a value as it is typed on a command line."""
    if isinstance(value, tuple | list):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)

"""Average of the outputs of several runs (Hansen and Salamon 1990, "Neural network ensembles").

Shapes: n samples, K classes or targets.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ...comm.world import World
from ...context import Context
from ...data.dataset import LANGUAGE_MODELING, Split
from ...data.pixels import as_classes
from ...data.sampler import share
from ...device import Device
from ...errors import UserError
from ..directory.trained_model import TrainedModel, softmax
from ..scoring.evaluation import Evaluator, hiding
from ..scoring.scores import Scoring

LEAST = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """A run of an ensemble.

    Attributes
    ----------
    run : TrainedModel
    order : array of int or None
        The places of the first run's classes among those of this one; None where they are the same.
    """

    run: TrainedModel
    order: np.ndarray | None = None
    _evaluator: Evaluator | None = None

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator of the model, once it was opened."""
        assert self._evaluator is not None
        return self._evaluator

    def opened(self, world: World, device: Device, mesh: str = "") -> "Member":
        """Return the member with its weights loaded (collective)."""
        return dataclasses.replace(self, _evaluator=self.run.evaluator(world, device, mesh))


def make_members(runs: Sequence[TrainedModel], names: Sequence[str]) -> list[Member]:
    """Return runs whose outputs can be averaged.

    Parameters
    ----------
    names : sequence of str
        Directories of the runs, for messages.

    Raises
    ------
    UserError
        If they differ in their task, target or classes, or predict tokens.
    """
    first, found = runs[0].signature, [Member(runs[0])]
    for name, run in zip(names[1:], runs[1:], strict=True):
        _check_alike(names[0], name, runs[0], run)
        own = {label: k for k, label in enumerate(run.signature.class_names)}
        same = run.signature.class_names == first.class_names
        found.append(Member(run, None if same else np.array([own[label] for label in first.class_names])))
    return found


def _check_alike(first_name: str, name: str, first: TrainedModel, other: TrainedModel) -> None:
    then, now = first.signature, other.signature
    if LANGUAGE_MODELING in (then.task, now.task):
        raise UserError("runs that predict tokens are not averaged: name one run")
    if then.task != now.task:
        raise UserError(f"{first_name} is for {then.task} and {name} for {now.task}: their outputs have no average")
    if then.target_name and now.target_name and then.target_name != now.target_name:
        raise UserError(f"{first_name} predicts {then.target_name!r} and {name} {now.target_name!r}")
    if sorted(then.class_names) != sorted(now.class_names) or then.num_outputs != now.num_outputs:
        raise UserError(f"{first_name} and {name} do not know the same classes or targets")


def mean_outputs(members: Sequence[Member], outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Return the outputs (n, ..., K) of the average of several models, in the terms of the first one.

    Classes: log of the mean probability. Values: the mean in the units of the targets, as normalized for the first.
    """
    if len(members) == 1:
        return outputs[0]
    first = members[0].run.target_normalizer
    if first is None:
        total = sum(
            softmax((each if member.order is None else each[..., member.order]).astype(np.float64))
            for member, each in zip(members, outputs, strict=True)
        )
        found: np.ndarray = np.log(np.maximum(np.asarray(total) / len(members), LEAST)).astype(np.float32)
        return found
    values = []
    for member, each in zip(members, outputs, strict=True):
        assert member.run.target_normalizer is not None
        values.append(member.run.target_normalizer.inverse(each))
    mean: np.ndarray = (np.mean(values, axis=0) - first.mean) / first.std
    return mean


def outputs_of(
    members: Sequence[Member], samples: Sequence[np.ndarray], rows: slice
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (rows, mean outputs on the host) batch by batch, valid until the next one.

    Parameters
    ----------
    samples : sequence of (N, ...) arrays
        The same samples as each member takes them.
    """
    all_outputs = (member.evaluator.outputs(x, rows) for member, x in zip(members, samples, strict=True))
    for parts in zip(*all_outputs, strict=True):
        host = [member.evaluator.to_host(outputs) for member, (_, outputs) in zip(members, parts)]
        yield parts[0][0], mean_outputs(members, host)


def ensemble_scores(
    members: Sequence[Member], parts: Sequence[Sequence[Split]], scoring: Scoring, world: World
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the scores of the average of several runs, and results that are no numbers (collective).

    Parameters
    ----------
    parts : sequence of sequence of Split
        The samples as each member takes them; targets are those of the first.
    scoring : Scoring
        That of the first member.
    """
    with world.together():
        if len({tuple(map(len, splits)) for splits in parts}) > 1:
            raise UserError("the runs do not read the same samples: name some for all of them with --data")
    totals, metrics, ctx = np.zeros(scoring.num_sums), scoring.metrics, Context(training=False)
    metrics.reset()
    for splits in zip(*parts, strict=True):
        rows, first = share(len(splits[0]), world.rank, world.size), splits[0]
        for part, outputs in outputs_of(members, [split.x for split in splits], rows):
            targets = as_classes(first.y[part])
            totals += scoring.sums(outputs, targets, ctx)
            metrics.update(scoring.readable(outputs), targets, hide=hiding(first, part, targets))
    scores = scoring.scores(world.sum(totals), parts[0])
    metrics.gather(world.all_gather)
    with world.together():
        results = metrics.results()
    tables = {name: value for name, value in results.items() if isinstance(value, np.ndarray)}
    return scores | {name: float(value) for name, value in results.items() if name not in tables}, tables

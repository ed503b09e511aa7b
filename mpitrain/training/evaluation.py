"""Evaluation of a model on samples that are split over the ranks."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..comm.group import Group
from ..comm.world import World
from ..context import Context
from ..data.dataset import Split
from ..data.normalize import Normalizer
from ..data.sampler import share
from ..device import CPU, Device
from ..layers import Layer
from ..metrics import MetricSet
from ..parallel.pipeline.forward import PipelineForward
from .pipeline import PipelineSetup
from .scoring import Scoring
from .setup import TrainingSetup

BATCH = 256


class Evaluator:
    """Evaluator of ``model``; its buffers are kept from call to call.

    Parameters
    ----------
    model : Layer
    group : Group
    normalizer : Normalizer
        Normalizer of the training samples.
    device : Device
        Where the model is; ``outputs`` are arrays of it.
    forward : PipelineForward, optional
        Computes the outputs where each rank has some stages of the model only.
    everyone : Group, optional
        All ranks with a part of the samples or of the model; ``group`` by default.

    Attributes
    ----------
    tables : dict of str to array
        The results of metrics that are no numbers (the confusion matrix), of the latest ``scores``.
    """

    def __init__(
        self,
        model: Layer,
        group: Group,
        normalizer: Normalizer,
        device: Device = CPU,
        *,
        forward: PipelineForward | None = None,
        everyone: Group | None = None,
    ):
        self._model, self._forward = model, forward
        self._group, self._everyone = group, everyone or group
        self._normalizer = normalizer
        self._device = device
        self._ctx = Context(training=False, device=device)
        self.tables: dict[str, np.ndarray] = {}
        self._parts: tuple[Scoring, Layer | None, Scoring] | None = None

    def outputs(self, x: np.ndarray, rows: slice, last: Layer | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (rows, outputs) batch by batch; outputs are valid until the next batch.

        In a pipeline all ranks iterate to the end, and those of the last stage get the outputs. ``last`` runs in place
        of the model, or of the last stage.
        """
        parts = [slice(start, min(start + BATCH, rows.stop)) for start in range(rows.start, rows.stop, BATCH)]

        def samples(number: int) -> Any:
            return self._device.from_host(self._normalizer(x[parts[number]]))

        if self._forward is None:
            model = self._model if last is None else last
            yield from ((part, model.forward(samples(number), self._ctx)) for number, part in enumerate(parts))
            return
        for number, outputs in self._forward.outputs([part.stop - part.start for part in parts], samples, last):
            yield parts[number], outputs

    def all_outputs(self, x: np.ndarray, num_outputs: int) -> np.ndarray:
        """Return the outputs (N, num_outputs) for all samples on every rank; each rank computes its share."""
        mine = share(len(x), self._group.rank, self._group.size)
        parts = [np.array(self._device.to_host(outputs)) for _, outputs in self.outputs(x, mine)]
        gathered = [part for parts in self._everyone.all_gather(parts) for part in parts]
        return np.concatenate([np.empty((0, num_outputs), np.float32), *gathered])

    def scores(self, splits: Sequence[Split], scoring: Scoring) -> dict[str, float]:
        """Return the scores over all of ``splits``, the same on every rank; each rank evaluates its share."""
        totals, metrics = np.zeros(scoring.num_sums), scoring.metrics
        last, sums = self._split(scoring)
        metrics.reset()
        for split in splits:
            for rows, outputs in self.outputs(split.x, share(len(split.x), self._group.rank, self._group.size), last):
                totals += sums.sums(outputs, split.y[rows], self._ctx)
                if metrics:
                    metrics.update(scoring.readable(self._device.to_host(outputs)), split.y[rows])
        targets = splits[0].y if len(splits) == 1 else np.concatenate([split.y for split in splits])
        scores = scoring.scores(self._everyone.sum(totals), targets)
        return scores | self._results(metrics)

    def _split(self, scoring: Scoring) -> tuple[Layer | None, Scoring]:
        """Return the part of the model, or of its last stage, that has to run, and the scoring of its outputs."""
        if self._parts is None or self._parts[0] is not scoring:
            model = self._model if self._forward is None else self._forward.last
            self._parts = scoring, *((None, scoring) if model is None else scoring.split(model))
        return self._parts[1:]

    def _results(self, metrics: MetricSet) -> dict[str, float]:
        """Return the results of the metrics that are numbers, and keep the others in ``tables``."""
        if not metrics:
            return {}
        metrics.gather(self._everyone.all_gather)
        with self._everyone.together():  # a function of the user's may fail
            results = metrics.results()
        self.tables = {name: value for name, value in results.items() if isinstance(value, np.ndarray)}
        return {name: float(value) for name, value in results.items() if name not in self.tables}


def make_evaluator(setup: TrainingSetup, world: World) -> Evaluator:
    """Return the evaluator of a run's model."""
    if setup.pipeline is None:
        return Evaluator(setup.model, world.group("data"), setup.normalizer, setup.arena.device)
    return pipeline_evaluator(setup.pipeline, setup.normalizer, setup.arena.device)


def pipeline_evaluator(pipeline: PipelineSetup, normalizer: Normalizer, device: Device) -> Evaluator:
    """Return the evaluator of a model in stages."""
    stages = pipeline.stages
    forward, everyone = PipelineForward(stages, pipeline.channel), pipeline.mesh.over("data", "pipe")
    return Evaluator(stages.model, pipeline.data, normalizer, device, forward=forward, everyone=everyone)

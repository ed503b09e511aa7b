"""Evaluation of a model on samples that are split over the ranks."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ...arena import Arena
from ...comm.group import Group
from ...comm.world import World
from ...context import ForwardContext
from ...data.dataset import Split
from ...data.lazy import LazyRows
from ...data.normalize import Normalizer
from ...data.pixels import as_classes
from ...data.sampler import share
from ...device import CPU, Device
from ...layers import Layer, as_activations, output_layer
from ...metrics import MetricSet
from ...parallel.division import Division
from ...parallel.pipeline.forward import PipelineForward
from ...parallel.roles import Roles
from ..mesh.pipeline import PipelineSetup
from ..setup import TrainingSetup
from .language import row_losses
from .scores import Scoring

BATCH, TOKENS = 256, 4096  # samples, and tokens of these, that are computed at once
PIXELS = 1 << 20  # of images larger than 64x64, that are computed at once


class Evaluator:
    """Evaluator of ``model``; its buffers are kept from call to call.

    Parameters
    ----------
    model : Layer
    group : Group
    normalizer : Normalizer or None
        Normalizer of the training samples; None for tokens.
    device : Device
        Where the model is; ``outputs`` are arrays of it.
    forward : PipelineForward, optional
        Computes the outputs where each rank has some stages of the model only.
    everyone : Group, optional
        All ranks with a part of the samples or of the model; ``group`` by default.
    arena : Arena, optional
        That of the model, whose values may be divided among the ranks: they then compute equally many batches.
    division : Division, optional
        The part of the layers that this rank has.
    roles : Roles, optional
        Groups of the mesh, where ranks have different parts of the model.

    Attributes
    ----------
    tables : dict of str to array
        The results of metrics that are no numbers (the confusion matrix), of the latest ``scores``.
    """

    def __init__(
        self,
        model: Layer,
        group: Group,
        normalizer: Normalizer | None,
        device: Device = CPU,
        *,
        forward: PipelineForward | None = None,
        everyone: Group | None = None,
        division: Division | None = None,
        roles: Roles | None = None,
        arena: Arena | None = None,
    ):
        self._model, self._forward, self._arena = model, forward, arena
        self._division = division or Division(model)
        self._counts, self._has_outputs = roles is None or roles.counts_loss, roles is None or roles.counts_outputs
        self._in_step = roles is not None and roles.mesh.sizes["expert"] > 1
        self._pads = roles is not None
        self._divides_head = roles is not None and roles.mesh.sizes["tensor"] > 1
        self._group, self._everyone = group, everyone or group
        self._normalizer = normalizer
        self._device = device
        self._ctx = ForwardContext(device=device)
        self._ctx.outputs_of = output_layer(model)
        self.tables: dict[str, np.ndarray] = {}
        self._parts: tuple[Scoring, Layer | None, Scoring] | None = None

    @property
    def has_whole_model(self) -> bool:
        """True if this rank computes outputs without any other."""
        return self._forward is None and not self._pads and not self._gathers

    def to_host(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs as an array of the host."""
        host: np.ndarray = self._device.to_host(outputs)
        return host

    def outputs(self, x: Any, rows: slice, last: Layer | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (rows, outputs) batch by batch; outputs are valid until the next batch. ``rows`` are this rank's share.

        In a pipeline all ranks iterate to the end, and those of the last stage get the outputs. ``last`` runs in place
        of the model, or of the last stage.
        """
        batch = samples_at_once(x)
        parts = _cut(x, rows, batch)
        if self._in_step or self._gathers:  # ranks with other experts, or parts of the weights, compute together
            shares = (share(len(x), rank, self._group.size) for rank in range(self._group.size))
            most = max(len(_cut(x, one, batch)) for one in shares)
            parts += [slice(0, 0)] * (most - len(parts))

        def samples(number: int) -> Any:
            values = _rows(x, parts[number], batch, whole=self._pads)
            return self._device.from_host(values if self._normalizer is None else self._normalizer(values))

        if self._forward is None:
            model = self._model if last is None else last
            for number, part in enumerate(parts):
                self._ctx.clear()  # no backward needs what it refers to
                yield part, model.forward(as_activations(model, samples(number), self._ctx), self._ctx)
            return
        for number, outputs in self._forward.outputs([part.stop - part.start for part in parts], samples, last):
            yield parts[number], outputs

    def all_outputs(self, x: Any, num_outputs: int) -> np.ndarray:
        """Return the outputs for all samples on every rank; each rank computes its share.

        They are (N, num_outputs), (N, T, num_outputs) in language modeling, and (N, H, W, num_outputs) in segmentation.
        """
        mine = share(len(x), self._group.rank, self._group.size)
        parts = [np.array(self._device.to_host(outputs)) for _, outputs in self._whole_outputs(x, mine)]
        gathered = [part for parts in self._everyone.all_gather(parts) for part in parts]
        return np.concatenate(gathered) if gathered else np.empty((0, num_outputs), np.float32)

    def own_outputs(self, x: np.ndarray) -> np.ndarray | None:
        """Return the outputs for samples that the ranks with the parts of one model have, and other ranks have not.

        Those ranks call it together. None on those of them that do not get the outputs.
        """
        rows = slice(0, len(x))
        parts = [np.array(self._device.to_host(outputs)) for _, outputs in self._whole_outputs(x, rows)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else None

    def best(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the class with the largest output and its probability, (N, H, W) int16 and float32, for each pixel.

        They are the same on every rank; each computes its share.
        """
        mine = share(len(x), self._group.rank, self._group.size)
        parts = [best_of(self._device.to_host(outputs)) for _, outputs in self._whole_outputs(x, mine)]
        gathered = [part for parts in self._everyone.all_gather(parts) for part in parts]
        if not gathered:
            return np.empty((0, *x.shape[1:3]), np.int16), np.empty((0, *x.shape[1:3]), np.float32)
        classes, probabilities = (np.concatenate(arrays) for arrays in zip(*gathered, strict=True))
        return classes, probabilities

    def of_rows(
        self, split: Split, columns: int, function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return ``function(outputs, targets)``, an array (n, columns), for all rows: (N, columns), on every rank.

        Each rank computes its share; the outputs of all are never in memory at once.
        """
        mine = share(len(split.x), self._group.rank, self._group.size)
        parts = [
            function(self._device.to_host(outputs), as_classes(split.y[rows]))
            for rows, outputs in self._whole_outputs(split.x, mine)
        ]
        gathered = [part for parts in self._everyone.all_gather(parts) for part in parts]
        return np.concatenate([np.empty((0, columns)), *gathered])

    def row_sums(self, split: Split, scoring: Scoring) -> np.ndarray:
        """Return ``scoring.sums`` of each row alone, (N, num_sums) float64, the same on every rank.

        A large head is computed with the loss, so that the logits of a text are never in memory at once; but not where
        ranks divide it, of which one computes the sums.
        """
        mine = share(len(split.x), self._group.rank, self._group.size)
        last, sums = (None, scoring) if self._divides_head or self._gathers else self._split(scoring)
        parts = []
        for rows, outputs in self._whole_outputs(split.x, mine, last):
            targets = split.y[rows]
            parts += [sums.sums(outputs[k : k + 1], targets[k : k + 1], self._ctx) for k in range(len(targets))]
        gathered = [part for parts in self._everyone.all_gather(parts) for part in parts]
        return np.array(gathered, np.float64).reshape(-1, scoring.num_sums)

    def row_losses(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum of the losses of each row of tokens, (N,) float64, and the number of its targets, (N,).

        They are the same on every rank; each computes its share.
        """
        mine = share(len(split.x), self._group.rank, self._group.size)
        parts = [
            np.stack(row_losses(self._device.to_host(outputs), split.y[rows]))
            for rows, outputs in self._whole_outputs(split.x, mine)
        ]
        gathered = [part for parts in self._everyone.all_gather(parts) for part in parts]
        losses, counts = np.concatenate([np.empty((2, 0)), *gathered], axis=1)
        return losses, counts.astype(np.int64)

    def scores(
        self,
        splits: Sequence[Split],
        scoring: Scoring,
        on_outputs: Sequence[Callable[[Split, slice, np.ndarray], None]] = (),
    ) -> dict[str, float]:
        """Return the scores over all of ``splits``, the same on every rank; each rank evaluates its share.

        Parameters
        ----------
        on_outputs : sequence of callable(Split, slice, array)
            Called with rows of a split and their outputs, arrays of the device, on ranks that have whole outputs.
        """
        totals, metrics = np.zeros(scoring.num_sums), scoring.metrics
        last, sums = self._split(scoring)
        metrics.reset()
        for split in splits:
            for rows, outputs in self.outputs(split.x, share(len(split.x), self._group.rank, self._group.size), last):
                targets = as_classes(self._division.targets(split.y[rows]))
                found = sums.sums(outputs, targets, self._ctx)  # a divided head needs all ranks that have parts of it
                if not self._counts or rows.start == rows.stop:
                    continue
                totals += found
                if metrics:
                    readable = scoring.readable(self._device.to_host(outputs))
                    metrics.update(readable, targets, hide=hiding(split, rows, targets))
                for call in on_outputs if last in (None, self._whole) and len(targets) == len(outputs) else ():
                    call(split, rows, outputs)
        scores = scoring.scores(self._everyone.sum(totals), splits)
        return scores | self._results(metrics)

    def _whole_outputs(self, x: Any, rows: slice, last: Layer | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield (rows, outputs) as ``outputs``, on one of the ranks that compute them together: all of them."""
        join = self._division.outputs
        for part, outputs in self.outputs(x, rows, last):
            whole = outputs if join is None else join.forward(outputs, self._ctx)
            if self._has_outputs and part.start < part.stop:
                yield part, whole

    @property
    def _gathers(self) -> bool:
        """True if all ranks gather the weights of each batch together."""
        return self._arena is not None and self._arena.divided is not None

    @property
    def _whole(self) -> Layer | None:
        """The model, or its last stage; None on ranks without that."""
        return self._model if self._forward is None else self._forward.last

    def _split(self, scoring: Scoring) -> tuple[Layer | None, Scoring]:
        """Return the part of the model, or of its last stage, that has to run, and the scoring of its outputs."""
        if self._parts is None or self._parts[0] is not scoring:
            model = self._whole
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


def hiding(split: Split, rows: slice, targets: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the function that hides what rankings of some rows leave out; None where that is nothing."""
    return None if split.hidden is None else partial(split.hidden.hide, x=split.x[rows], targets=targets)


def best_of(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the class with the largest of the logits (..., K), and its probability."""
    with np.errstate(invalid="ignore"):  # outputs that are infinite
        sums = np.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1)
    return logits.argmax(axis=-1).astype(np.int16), (1 / sums).astype(np.float32)


def _cut(x: Any, rows: slice, batch: int) -> list[slice]:
    """Return the parts of ``rows`` that are computed at once."""
    first = rows.start // batch * batch if isinstance(x, LazyRows) else rows.start
    ends = [*range(first + batch, rows.stop, batch), rows.stop]
    return [slice(start, stop) for start, stop in zip([rows.start, *ends], ends) if start < stop]


def samples_at_once(x: Any) -> int:
    """Return the number of samples that are computed at once."""
    if x.ndim == 4:
        return max(1, min(BATCH, PIXELS // (int(x.shape[1]) * int(x.shape[2]))))
    if x.dtype.kind != "i":
        return BATCH
    tokens: int = getattr(x, "at_once", TOKENS)
    return max(1, min(BATCH, tokens // max(1, int(x.shape[1]))))


def _rows(x: Any, part: slice, batch: int, *, whole: bool) -> np.ndarray:
    """Return rows of ``x``; those of tokens are padded to the longest of their batch, which no rank has alone.

    Parameters
    ----------
    batch : int
        ``part`` is one of the batches, of so many rows each, or a part of one.
    whole : bool
        Pad them to the longest of all, for batches of one shape.
    """
    if not isinstance(x, LazyRows):
        return np.asarray(x[part])
    first = part.start // batch * batch
    width = x.shape[1] if whole else x.width(np.arange(first, min(first + batch, len(x))))
    return x.take(np.arange(part.start, part.stop), width)


def make_evaluator(setup: TrainingSetup, world: World) -> Evaluator:
    """Return the evaluator of a run's model."""
    roles, device = setup.roles, setup.arena.device
    if roles is None:
        return Evaluator(setup.model, world.group("data"), setup.normalizer, device, arena=setup.arena)
    if setup.pipeline is not None:
        return pipeline_evaluator(setup.pipeline, roles, setup.normalizer, device)
    return Evaluator(
        setup.model,
        roles.samples,
        setup.normalizer,
        device,
        everyone=roles.everyone,
        division=setup.division,
        roles=roles,
        arena=setup.arena,
    )


def pipeline_evaluator(
    pipeline: PipelineSetup, roles: Roles, normalizer: Normalizer | None, device: Device
) -> Evaluator:
    """Return the evaluator of a model in stages."""
    stages = pipeline.stages
    return Evaluator(
        stages.model,
        roles.samples,
        normalizer,
        device,
        forward=PipelineForward(stages, pipeline.channel),
        everyone=roles.everyone,
        division=pipeline.division,
        roles=roles,
    )

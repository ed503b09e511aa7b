"""Setup of training from a config: data, normalization, network, loss."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from .. import models
from ..arena import Arena
from ..comm.world import World
from ..config import Config
from ..data.augment import Augment, check_dataset
from ..data.batches import make_batches
from ..data.dataset import CLASSIFICATION, LANGUAGE_MODELING, SEGMENTATION, Dataset
from ..data.lazy import is_lazy
from ..data.matching.conform import in_order_of
from ..data.matching.fingerprint import contents, digest_file, fingerprint
from ..data.matching.signature import Extremes, Signature
from ..data.normalize import Normalizer
from ..data.resolution import resolution_notes
from ..data.sampler import share
from ..data.samples import make_dataset
from ..data.sources import absolute_source, find_source, open_dataset
from ..data.validation import with_validation
from ..device import CPU, Device
from ..errors import UserError
from ..layers import Layer
from ..losses import DividedLoss, Loss
from ..metrics import split_metrics
from ..metrics.names import Spec
from ..parallel.division import Division
from ..parallel.roles import Roles
from ..parallel.virtual_shards import check_shards
from . import limits
from .adaptation import adapt
from .class_weights import class_weights_of
from .mesh.pipeline import PipelineSetup
from .mesh.placement import place_model
from .mesh.rules import check_mesh, make_mesh
from .network import check_objective, make_loss, make_model
from .prepare import prepare
from .recipe import check_recipe, peak_lr
from .run_length import RunLength
from .same_data import check_same_data
from .scoring.scores import check_scorable, check_scores, make_scoring

RANDOM_BASE = "--lora without --weights: the weights beside the adapters are random numbers, and stay so"


@dataclass(frozen=True)
class TrainingSetup:
    """Data, network and loss of a training run.

    Attributes
    ----------
    model : Layer
        In a pipeline, the stages that this rank has; where layers are divided, its part of them.
    arena : Arena
        The buffers of ``model``.
    normalizer : Normalizer or None
        None for tokens and codes, which are taken as they are.
    pipeline : PipelineSetup or None
        None where each rank has all layers.
    roles : Roles or None
        Groups of the mesh; None where each rank has the whole model, and axis data all ranks.
    division : Division or None
        The part of the layers that this rank has; None where layers are whole.
    lora : str
        The adapters of the model, as in --lora, with all that is trained besides them.
    """

    dataset: Dataset
    normalizer: Normalizer | None
    target_normalizer: Normalizer | None
    model: Layer
    arena: Arena
    loss: Loss
    signature: Signature | None = None
    metrics: str | Sequence[Spec] = ""
    pipeline: PipelineSetup | None = None
    lora: str = ""
    roles: Roles | None = None
    division: Division | None = None

    @property
    def training_loss(self) -> Loss:
        """The loss of the outputs of this rank."""
        if self.division is None or self.division.gives_whole_outputs:
            return self.loss
        return DividedLoss(self.loss, self.division.targets)

    @property
    def num_parameters(self) -> int:
        """Scalars of the parameters of the whole model, which a rank of a pipeline has a part of."""
        return sum(entry.size for entry in self.arena.whole.parameters)

    @property
    def num_trained(self) -> int:
        """Scalars of the whole model that are trained."""
        return sum(entry.size for entry in self.arena.whole.trained)

    def metadata(self, config: Config) -> dict[str, Any]:
        """Return the metadata needed to use the weights again (JSON-able)."""
        return {
            "model": config.model.name,
            **({"lora": self.lora} if self.lora else {}),
            **(self.signature or Signature.of(self.dataset)).facts(),
            "normalizer": _to_lists(self.normalizer),
            "target_normalizer": _to_lists(self.target_normalizer),
            "class_weights": list(getattr(self.loss, "class_weights", ())),
        }


@dataclass(frozen=True)
class OwnParts:
    """Parts supplied by a user's program, in place of those of the config.

    Attributes
    ----------
    data : object, optional
        As in ``data.samples.make_dataset``.
    model : Layer or callable(input_shape, num_outputs) -> Layer, optional
    metrics : sequence of str, Metric or callable(outputs, targets) -> float
        Metrics in addition to those of the config.
    """

    data: Any = None
    model: Layer | Callable[[tuple[int, ...], int], Layer] | None = None
    metrics: Sequence[Spec] = ()


def open_setup(
    config: Config,
    world: World,
    device: Device = CPU,
    earlier: Signature | None = None,
    own: OwnParts = OwnParts(),
    *,
    divided: bool = False,
) -> TrainingSetup:
    """Return the setup of a training run, whose model is on ``device``.

    Parameters
    ----------
    earlier : Signature, optional
        Signature of the resumed run: the data are sought at their old path, and columns and classes are brought
        into its order.
    own : OwnParts, optional
    divided : bool
        With --shard weights, give the arena this rank's part of the values only: for one training, which comes first.

    Raises
    ------
    AgreedError
        On all ranks, if anything that the user gave does not work on any of them, or their data differ.
    """
    mesh = make_mesh(config, world, resumes=earlier is not None)
    weights = adapters = None
    if config.model.weights and earlier is None:  # a resumed run has its own
        with world.together():
            from .pretrained.source import open_weights

            weights = open_weights(config.model.weights)
        _check_same_files(world, weights.files, weights.source)
    if config.model.lora_weights and earlier is None:
        with world.together():
            from .pretrained.peft_read import open_adapters

            adapters = open_adapters(config.model.lora_weights)
        _check_same_files(world, adapters.files, adapters.source)
    with world.together():
        check_shards(config.parallel.reproducible, mesh.sizes["data"])
        check_mesh(config, mesh, resumes=earlier is not None)
        source = config.data.source
        if earlier is not None and own.data is None and earlier.source == source:
            source = find_source(source, earlier.absolute_source)
    if own.data is None:
        prepare(world, source)
    if config.data.source.startswith("openml:"):
        with world.together():
            if world.rank == 0:
                open_samples(config, source, None, own)  # one rank downloads it, the others find it in the cache
    with world.together():
        dataset = open_samples(config, source, earlier, own)
        config = in_samples(config, dataset)
    arrays = contents(dataset)
    check_same_data(world, fingerprint(dataset, arrays), source or dataset.name)
    alone = config.parallel.reproducible > 0  # sums over ranks depend on their number
    whole_numbers = is_lazy(dataset.train.x) or dataset.only_codes
    normalizer = None if whole_numbers else _fit(dataset.train.x, world, alone, dataset.feature_names)
    if normalizer is not None and dataset.categories:
        normalizer = normalizer.leaving([one is not None for one in dataset.categories])
    target_normalizer = _fit(dataset.train.y, world, alone, ()) if dataset.task == "regression" else None
    dataset = dataclasses.replace(
        dataset, notes=dataset.notes + _notes(dataset, normalizer, target_normalizer, config, mesh.sizes["data"])
    )
    with world.together():
        if target_normalizer is not None:
            check_scorable(target_normalizer)
        data = config.data
        steps = make_batches(dataset.train.x, data.batch_size, batch_tokens=data.batch_tokens).num_steps
        check_recipe(config.optimizer, steps, RunLength.of(config.run, steps).total_steps)
        metrics = [*split_metrics(config.run.metrics), *own.metrics]
        model = make_model(config, dataset.input_shape, dataset.num_outputs, own.model, models.Codes.of(dataset))
        check_objective(model, dataset)
        first_weights = None if weights is None else weights.fit(model)
        fitted = None if adapters is None else adapters.fit(config.model.name, model, config.model.lora)
        lora = adapt(model, config.model, fitted, () if first_weights is None else first_weights.new)
        if lora is not None and weights is None and own.model is None and earlier is None:
            dataset = dataclasses.replace(dataset, notes=(*dataset.notes, RANDOM_BASE))
        limits.check_memory(config, model, world, math.prod(mesh.sizes[axis] for axis in ("pipe", "tensor", "expert")))
        class_weights = class_weights_of(config.optimizer.class_weights, dataset)
        loss = make_loss(dataset.task, config.optimizer.label_smoothing, class_weights)
        if first_weights is not None:
            dataset = dataclasses.replace(dataset, notes=(*dataset.notes, *first_weights.notes))
        scoring = make_scoring(loss, target_normalizer, dataset.num_outputs, metrics, **task_facts(dataset))
        check_scores(config.run, scoring)
    placed = place_model(config, world, mesh, model, dataset, device, divided=divided)
    arena = placed.arena
    with world.together():
        if first_weights is not None:
            first_weights.load(arena)
        if fitted is not None:
            fitted.load(arena)
    arena.give_back_others()
    signature = Signature.of(
        dataset,
        source=config.data.source,
        absolute_source=absolute_source(source) if source else "",
        extremes=None if whole_numbers else extremes_of(dataset.train.x, world),
        contents=arrays,
    )
    return TrainingSetup(
        dataset,
        normalizer,
        target_normalizer,
        placed.model,
        arena,
        loss,
        signature,
        metrics,
        placed.pipeline,
        "" if lora is None else lora.text,
        placed.roles,
        placed.division,
    )


def resolved(config: Config, setup: TrainingSetup) -> Config:
    """Return ``config`` with ``auto`` and defaults replaced by their values."""
    task = cast(Literal["classification", "regression", "segmentation", "language-modeling"], setup.dataset.task)
    data = dataclasses.replace(in_samples(config, setup.dataset).data, task=task)
    microbatches = 1 if setup.pipeline is None or config.parallel.reproducible else setup.pipeline.microbatches
    accumulate = config.optimizer.accumulate or microbatches
    optimizer = dataclasses.replace(config.optimizer, lr=peak_lr(config.optimizer), accumulate=accumulate)
    model = dataclasses.replace(config.model, lora=setup.lora)
    return dataclasses.replace(config, data=data, optimizer=optimizer, model=model)


def _check_same_files(world: World, files: Sequence[Path], source: str) -> None:
    """Raise an AgreedError on all ranks if files to begin with differ between them (collective)."""
    with world.together():
        digests = {f"file {path.name}": digest_file(path) for path in files}
    check_same_data(world, digests, source)


def in_samples(config: Config, dataset: Dataset) -> Config:
    """Return ``config`` with --batch-tokens as a batch size: the most samples that hold so many tokens.

    Raises
    ------
    UserError
        If the samples are no tokens.
    """
    tokens = config.data.batch_tokens
    if not tokens:
        return config
    if not is_lazy(dataset.train.x):
        raise UserError(f"--batch-tokens is for text: the samples of {dataset.name} are no tokens")
    size = make_batches(dataset.train.x, max(1, tokens // dataset.input_shape[0]), batch_tokens=tokens).largest
    return dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=size))


def task_facts(dataset: Dataset) -> dict[str, Any]:
    """Return the options of ``make_scoring`` that depend on the task, and on the text of a dataset."""
    if dataset.task == SEGMENTATION:
        return {"task": dataset.task}
    if dataset.task != LANGUAGE_MODELING:
        return {}
    tokenizer = None if dataset.masked else dataset.tokenizer  # the bytes of hidden tokens are not those of the text
    return {"task": dataset.task, "token_bytes": None if tokenizer is None else tokenizer.token_bytes}


def augment_of(config: Config, dataset: Dataset) -> Augment:
    """Return the augmentation of ``config`` for a dataset."""
    data, classes = config.data, dataset.num_outputs if dataset.task == CLASSIFICATION else 0
    return Augment(config.run.seed, crop=data.crop, flip=data.flip, text=data.augment, num_classes=classes)


def normalizer_from(metadata: dict[str, Any] | None) -> Normalizer | None:
    """Return the normalizer that ``TrainingSetup.metadata`` wrote down; None for None."""
    if metadata is None:
        return None
    return Normalizer(np.array(metadata["mean"], np.float64), np.array(metadata["std"], np.float64))


def extremes_of(x: np.ndarray, world: World) -> Extremes:
    """Return the extremes of ``x`` (N, ..., C), held by all ranks; each reads its share."""
    mine = Extremes.of(x, share(len(x), world.rank, world.size))
    return Extremes(world.minimum(mine.least), world.maximum(mine.most))


def open_samples(config: Config, source: str, earlier: Signature | None, own: OwnParts) -> Dataset:
    """Return the dataset of a run, with its validation samples."""
    data = config.data
    task = None if data.task == "auto" else data.task
    drawn: dict[str, Any] = {"test_fraction": data.test_fraction, "seed": config.run.seed, "draw": data.split}
    if own.data is None:
        held: dict[str, Any] = {"validation": data.validation, "fold": data.fold}
        dataset = open_dataset(source, task=task, encoding=earlier.encoding if earlier else None, **drawn, **held)
    else:
        dataset = make_dataset(own.data, task=task, **drawn)
    if dataset.task == "classification" and dataset.num_outputs < 2:
        raise UserError(f"{dataset.name} has only one class: there is nothing to tell apart")
    check_dataset(augment_of(config, dataset), dataset)
    if earlier is not None:
        dataset = in_order_of(earlier, dataset, source)
    return with_validation(dataset, data.validation, config.run.seed, data.split, data.fold)


def _fit(x: np.ndarray, world: World, alone: bool, names: tuple[str, ...]) -> Normalizer:
    if alone:
        return Normalizer.fit(x, names=names)
    return Normalizer.fit(x, share(len(x), world.rank, world.size), world.sum, names)


def _notes(
    dataset: Dataset,
    normalizer: Normalizer | None,
    target_normalizer: Normalizer | None,
    config: Config,
    num_ranks: int,
) -> tuple[str, ...]:
    """Return notes on the values of a dataset, and on settings that are too large for it."""
    train = dataset.train
    found: tuple[str, ...] = ()
    if normalizer is not None:
        found += resolution_notes(train.x, normalizer, dataset.feature_names, dataset.name)
    if target_normalizer is not None:
        names = (dataset.target_name,) if dataset.target_name else ()
        found += resolution_notes(train.y, target_normalizer, names, f"{dataset.name}, the targets")
    return found + limits.notes(config, len(train), num_ranks)


def _to_lists(normalizer: Normalizer | None) -> dict[str, list[float]] | None:
    if normalizer is None:
        return None
    return {"mean": np.asarray(normalizer.mean).tolist(), "std": np.asarray(normalizer.std).tolist()}

"""Finished runs, opened from their directories for evaluation and prediction."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...arena import Arena
from ...comm.mesh import Mesh
from ...comm.world import World
from ...config import Config
from ...config_file import read_config
from ...data.dataset import LANGUAGE_MODELING, SEGMENTATION, Split
from ...data.matching.conform import conform
from ...data.matching.fingerprint import contents, digest_file, fingerprint_of_split
from ...data.matching.rows import ALL, TEST, Rows, as_trained, open_rows, open_samples, split_of
from ...data.matching.signature import Extremes, Signature
from ...data.normalize import Normalizer
from ...data.sources import absolute_source, find_source, open_dataset, path_of, replace_option
from ...data.text import open_tokenizer
from ...data.text.tokenizer import BYTES
from ...data.tokenizer import Tokenizer
from ...data.validation import with_validation
from ...device import CPU, Device
from ...errors import UserError
from ...layers import Layer
from ...lora_options import LoRAOptions, parse_lora
from ...losses import Loss
from ...model_table import ModelTable
from ...models import Codes
from ...parallel.divide import check as check_division
from ...parallel.divide import divide
from ...parallel.roles import Roles
from ...plain_text import visible
from ..adaptation import with_adapters
from ..devices import choose_activations, use_devices_in
from ..mesh.pipeline import open_forward_pipeline
from ..network import make_loss, make_model
from ..prepare import prepare
from ..same_data import check_same_data
from ..scoring.evaluation import Evaluator, pipeline_evaluator
from ..scoring.scores import Scoring, make_scoring
from ..setup import extremes_of, normalizer_from
from ..weights import check_weights, load_weights, read_metadata
from .run_directory import BEST, CONFIG, LAST, TOKENIZER

if TYPE_CHECKING:
    from ...generation import NextToken

SHOWN = 40  # tokens of a window that are written out
FLOAT32_DIGITS, FLOAT64_DIGITS = 9, 17


class TrainingData(NamedTuple):
    """Description of the training data, as stored with weights."""

    signature: Signature
    normalizer: Normalizer | None  # None for tokens
    target_normalizer: Normalizer | None  # None in classification
    loss: Loss


def read_training_data(config: Config, path: Path) -> TrainingData:
    """Return the description of the training data in the weights file ``path`` of a run.

    Raises
    ------
    UserError
        If there is none, or it is not one of ours.
    """
    metadata = read_metadata(path)
    with _as_user_error(path):
        signature = with_tokenizer(Signature.from_facts(metadata), path.parent / TOKENIZER)
        if not signature.source:  # older weights do not say
            signature = dataclasses.replace(signature, source=config.data.source)
        regression = signature.task == "regression"
        weights = [float(weight) for weight in metadata.get("class_weights", [])]  # older runs have none
        return TrainingData(
            signature,
            normalizer_from(metadata["normalizer"]),
            normalizer_from(metadata["target_normalizer"]) if regression else None,
            make_loss(signature.task, config.optimizer.label_smoothing, weights),
        )


def with_tokenizer(signature: Signature, file: Path) -> Signature:
    """Return ``signature`` with the tokenizer that the run has kept in ``file``, if it has, in its source."""
    if not file.is_file():
        return signature
    sources = (replace_option(name, "tokenizer", str(file)) for name in (signature.source, signature.absolute_source))
    source, absolute = sources
    return dataclasses.replace(signature, source=source, absolute_source=absolute)


@contextlib.contextmanager
def _as_user_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise UserError(
            f"{path} does not say what it was trained on in a way that this version of mpitrain knows"
        ) from None


class TrainedModel:
    """Model of a run with its weights and the signature of its training data.

    Parameters
    ----------
    config : Config
    path : Path
        The weights file.

    Attributes
    ----------
    signature : Signature
    normalizer, target_normalizer : Normalizer
        Normalizers of the training data; the second is None in classification.
    model : Layer
        It has its weights after ``evaluator``.
    loss : Loss
    """

    def __init__(self, config: Config, path: Path):
        self._config, self._path = config, path
        self.signature, self.normalizer, self.target_normalizer, self.loss = read_training_data(config, path)
        with _as_user_error(path):
            then = self.signature
            codes = Codes.of(then)
            self.model: Layer = make_model(config, then.input_shape, then.num_outputs, codes=codes)
        with_adapters(self.model, config.model)
        check_weights(path, ModelTable.of(self.model))

    def evaluator(self, world: World, device: Device = CPU, mesh: str = "") -> Evaluator:
        """Load the weights, and return the evaluator of the model (collective).

        Parameters
        ----------
        device : Device
            Where this rank computes.
        mesh : str
            As in ``train --mesh``: with several ranks on an axis other than data, each has a part of the model only.
        """
        model, whole, shape = self.model, ModelTable.of(self.model), self.signature.input_shape
        placed = Mesh(world, mesh or {"data": world.size})
        choose_activations(device, placed, world)
        roles = Roles(placed)
        with world.together():
            check_division(model, placed.sizes, shape)
        if placed.sizes["pipe"] > 1:
            pipeline = open_forward_pipeline(world, placed, model, shape, device)
            self._load(world, Arena(pipeline.stages.model, device=device, whole=whole))
            return pipeline_evaluator(pipeline, roles, self.normalizer, device)
        if roles.divides_layers:
            use_devices_in(placed, world)
        division = divide(model, placed, shape)
        self._load(world, Arena(division.model, device=device, whole=whole))
        if not roles.divides_model:
            return Evaluator(model, world.group("data"), self.normalizer, device)
        parts: dict[str, Any] = {"everyone": roles.everyone, "division": division, "roles": roles}
        return Evaluator(division.model, roles.samples, self.normalizer, device, **parts)

    def load(self, world: World, device: Device = CPU) -> Layer:
        """Load the weights on every rank, and return the model (collective)."""
        self._load(world, Arena(self.model, device=device))
        return self.model

    def next_token(self, window: int, device: Device = CPU) -> "NextToken":
        """Return what predicts the next token, after ``load``.

        A model without learned positions sees as many tokens as in training, if ``window`` is 0.
        """
        from ...generation import NextToken

        predict = NextToken(self.model, window=window, device=device)
        if not predict.window:
            predict = NextToken(self.model, window=self.signature.input_shape[0], device=device)
        return predict

    def _load(self, world: World, arena: Arena) -> None:
        with world.together():
            load_weights(self._path, arena)

    def prepare(self, world: World, source: str) -> None:
        """Do the work that a source, or the run's own data if it is empty, needs once (collective)."""
        with world.together():
            if source:
                source = as_trained(source, self.signature)
            else:
                source = find_source(self.signature.source, self.signature.absolute_source)
        prepare(world, source)

    def make_scoring(self, metrics: str) -> Scoring:
        """Return the scoring of the model's task, with ``metrics``."""
        then, facts = self.signature, dict[str, Any]()
        if then.task == SEGMENTATION:
            facts = {"task": then.task}
        if then.task == LANGUAGE_MODELING:
            facts = {"task": then.task, "token_bytes": self.token_bytes}
        return make_scoring(self.loss, self.target_normalizer, then.num_outputs, metrics, **facts)

    @cached_property
    def token_bytes(self) -> np.ndarray | None:
        """Bytes of text of each token; None where the tokenizer does not say, there is none, or tokens are hidden."""
        return None if self.tokenizer is None or self.signature.masked else self.tokenizer.token_bytes

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer of the training text; None where the tokens came without one."""
        if not self.signature.tokenizer:
            return None
        if self.signature.tokenizer == BYTES:
            return open_tokenizer(BYTES)
        path = self._path.parent / TOKENIZER
        return open_tokenizer(str(path)) if path.is_file() else None

    @property
    def model_text(self) -> str:
        """The model as in --model."""
        return self._config.model.name

    @property
    def lora(self) -> LoRAOptions | None:
        """The adapters of the model."""
        return parse_lora(self._config.model.lora)

    @property
    def first_weights(self) -> str:
        """The weights that it began with, as in --weights."""
        return self._config.model.weights

    @property
    def precision(self) -> str:
        """The precision of the training, as in --precision."""
        return self._config.compute.precision

    @property
    def metrics(self) -> str:
        """The metrics of the run, by name."""
        return self._config.run.metrics

    def open_rows(self, source: str, split: str) -> Rows:
        """Return samples with targets: of the run's own data if ``source`` is empty, else of ``source``.

        Parameters
        ----------
        split : str
            "test", "validation", "train", "all", or empty: the test split of the run's own data, or as in
            ``data.matching.rows.open_rows``.

        Raises
        ------
        UserError
            If its samples or targets are not of the kind that the model was trained on.
        """
        if not source:
            return self._own_rows(split or TEST)
        rows = open_rows(source, self.signature, split)
        own = self.signature.absolute_source
        if rows.split == ALL and own and path_of(absolute_source(source)) == path_of(own):
            return rows.noting("these are the run's own data: most of them are training samples")
        return rows

    def _own_rows(self, split: str) -> Rows:
        data, then = self._config.data, self.signature
        source = find_source(then.source or data.source, then.absolute_source)
        dataset = open_dataset(
            source,
            task=then.task,
            test_fraction=data.test_fraction,
            seed=self._config.run.seed,
            draw=data.split,
            encoding=then.encoding,
            validation=data.validation,
            fold=data.fold,
        )
        dataset = conform(dataclasses.replace(dataset, notes=()), then, source)  # training has shown its notes
        dataset = with_validation(dataset, data.validation, self._config.run.seed, data.split, data.fold)
        rows, now = split_of(dataset, split), contents(dataset)
        changed = [part for part, text in then.contents.items() if now.get(part) != text]
        if changed:
            return rows.noting(
                f"{source} is no longer as it was for training (the {changed[0]} differ): the test split is another, "
                "and may hold samples that the model was trained on"
            )
        return rows

    def open_samples(self, source: str) -> Rows:
        """Return samples without targets; columns of a table are found by their names."""
        return open_samples(source, self.signature)

    def check_weights_alike(self, world: World) -> None:
        """Compare the weights over the ranks (collective); raise an AgreedError on all ranks if they differ."""
        with world.together():
            try:
                table = {"weights": digest_file(self._path)}
            except OSError as error:
                raise UserError(f"cannot read the weights {self._path}: {error.strerror}") from None
        check_same_data(world, table, str(self._path))

    def check_ranks(self, rows: Rows, source: str, world: World) -> None:
        """Compare weights and samples over the ranks (collective).

        Raises
        ------
        AgreedError
            On all ranks, if they differ.
        """
        self.check_weights_alike(world)
        table: dict[str, str] = {}
        for number, part in enumerate(rows.parts):
            table |= fingerprint_of_split(f"{'other ' * number}", part)
        check_same_data(world, table, source or self.signature.source)

    def diagnose(self, rows: Rows, world: World) -> str:
        """Return the difference in dtype or scale between samples and training data (collective)."""
        if self.normalizer is None:
            return ""
        found = [extremes_of(part.x, world) for part in rows.parts]
        least, most = (np.array([getattr(one, name) for one in found]) for name in ("least", "most"))
        extremes = Extremes(least.min(axis=0), most.max(axis=0))
        return self.signature.complaint(rows.parts[0].x.dtype.name, extremes, len(rows))

    def columns(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return predictions by column name from the raw outputs (N, K): class and its probability, or values."""
        if self.target_normalizer is not None:
            values = self.target_normalizer.inverse(outputs)
            return {name: values[:, k] for k, name in enumerate(self.target_names(values.shape[1]))}
        names = np.array(self.class_names)
        probabilities, best = softmax(outputs), outputs.argmax(axis=1)
        columns = {"class": names[best], "probability": probabilities[np.arange(len(best)), best]}
        return columns | {f"p({name})": probabilities[:, k] for k, name in enumerate(names)}

    @property
    def map_constants(self) -> dict[str, np.ndarray]:
        """Arrays beside those of ``maps``."""
        return {"class_names": np.array(self.signature.class_names)}

    def maps(self, classes: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
        """Return the arrays to write of predicted classes of pixels (N, H, W) and their probabilities.

        Where the labels were numbers, ``class`` holds these; otherwise places in ``class_names``.
        """
        names = self.signature.class_names
        labels = [int(name) for name in names] if all(name.isdecimal() for name in names) else list(range(len(names)))
        largest = np.min_scalar_type(max(labels))
        found = np.array(labels, largest)[classes]
        return {"class": found, "probability": probabilities}

    def text_columns(self, samples: Split, losses: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return the scores of windows of text by column name, with the beginning of each window.

        Parameters
        ----------
        samples : Split
            N windows.
        losses, counts : (N,) arrays
            Sums of the losses of their tokens, and the number of these.
        """
        mean = losses / np.maximum(counts, 1)
        columns = {"token": samples.x.starts(), "tokens": counts, "loss": mean, "perplexity": np.exp(mean)}
        if self.tokenizer is not None:
            columns["text"] = np.array([self._begin(samples, row) for row in range(len(samples))])
        return columns

    def _begin(self, samples: Split, row: int) -> str:
        assert self.tokenizer is not None
        tokens = samples.x[row : row + 1][0, :SHOWN]
        return visible(self.tokenizer.decode(tokens[tokens >= 0].tolist()))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; their numbers where they have none."""
        return self.signature.class_names or tuple(str(k) for k in range(self.signature.num_outputs))

    def target_names(self, count: int) -> list[str]:
        """Return the names of ``count`` targets of a regression."""
        name = self.signature.target_name or "prediction"
        if count == 1:
            return [name]
        several = name.split(",")  # of a csv source with several targets
        return several if len(several) == count else [f"{name}.{k}" for k in range(count)]

    @property
    def digits(self) -> int:
        """Decimal digits that tell predictions apart as finely as the model's float32 outputs do.

        A target of 1.7e9 with a deviation of 10 has eight digits before those that are predicted.
        """
        normalizer = self.target_normalizer
        if normalizer is None:
            return FLOAT32_DIGITS
        ratio = float(np.max(np.abs(normalizer.mean) / normalizer.std))
        return min(FLOAT64_DIGITS, FLOAT32_DIGITS + max(0, math.ceil(math.log10(max(ratio, 1.0)))))


def softmax(outputs: np.ndarray) -> np.ndarray:
    """Return the probabilities (..., K) of outputs (..., K)."""
    exponentials = np.exp(outputs - outputs.max(axis=-1, keepdims=True, initial=-np.inf))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def open_trained_model(directory: Path, weights: str) -> TrainedModel:
    """Open the ``weights`` (last or best) of the run in ``directory``.

    Raises
    ------
    UserError
        If there is no whole run.
    """
    if not (directory / CONFIG).is_file():
        raise UserError(f"{directory} is no run directory: it has no {CONFIG}")
    return TrainedModel(read_config(directory / CONFIG), directory / {"last": LAST, "best": BEST}[weights])

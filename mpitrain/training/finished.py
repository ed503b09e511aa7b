"""A finished run, opened again from its directory: to evaluate, and to predict."""

from pathlib import Path

import numpy as np

from ..arena import Arena
from ..config import Config
from ..config_file import read_config
from ..data.dataset import Dataset, Features
from ..data.sources import open_dataset, open_features
from ..device import CPU, Device
from ..errors import UserError
from ..layers import Layer
from ..losses import MSE, Loss, SoftmaxCrossEntropy
from .run_directory import BEST, CONFIG, LAST
from .session import make_model, normalizer_from
from .weights import check_weights, load_weights, read_facts


class Finished:
    """The model of a run with its weights, and what they were trained on.

    Parameters
    ----------
    config : Config
    path : Path
        The weights file.
    device : Device
        Where the model computes.
    """

    def __init__(self, config: Config, path: Path, device: Device = CPU):
        self._config, self._path = config, path
        self._facts = facts = read_facts(path)
        try:
            self.input_shape = tuple(int(n) for n in facts["input_shape"])
            self.num_outputs = int(facts["num_outputs"])
            self.class_names = [str(name) for name in facts["class_names"]]
            self.normalizer = normalizer_from(facts["normalizer"])
            regression = facts["task"] == "regression"
            self.target_normalizer = normalizer_from(facts["target_normalizer"]) if regression else None
            self.model: Layer = make_model(config, self.input_shape, self.num_outputs)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError(
                f"{path} does not say what it was trained on in a way that this version of mpitrain knows"
            ) from None
        self.loss: Loss = MSE() if regression else SoftmaxCrossEntropy(config.optimizer.label_smoothing)
        check_weights(path, self.model)
        load_weights(path, Arena(self.model.named_parameters(), self.model.named_states(), device=device))

    def open_dataset(self, source: str = "") -> Dataset:
        """Return the run's own dataset, or that of ``source``.

        Raises
        ------
        UserError
            If its samples or targets are not of the kind that the model was trained on.
        """
        data = self._config.data
        dataset = open_dataset(
            source or data.source,
            task=self._facts["task"],
            test_fraction=data.test_fraction,
            seed=self._config.run.seed,
            draw=data.split,
        )
        self._check_shape(dataset.name, dataset.input_shape)
        if dataset.num_outputs != self.num_outputs or list(dataset.class_names) != self.class_names:
            raise UserError(f"{dataset.name} has other classes or targets than {self._path} was trained on")
        return dataset

    def open_features(self, source: str) -> Features:
        """Return the samples of ``source``; columns of a table are found by their names."""
        features = open_features(source, feature_names=tuple(self._facts["feature_names"]))
        self._check_shape(features.name, features.x.shape[1:])
        return features

    def columns(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return predictions by column name from the raw outputs (N, K): class and its probability, or values."""
        if self.target_normalizer is not None:
            values = self.target_normalizer.inverse(outputs)
            name = self._facts["target_name"] or "prediction"
            many = values.shape[1] > 1
            return {f"{name}.{k}" if many else name: values[:, k] for k in range(values.shape[1])}
        names = np.array(self.class_names or [str(k) for k in range(self.num_outputs)])
        exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True, initial=-np.inf))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        best = outputs.argmax(axis=1)
        columns = {"class": names[best], "probability": probabilities[np.arange(len(best)), best]}
        return columns | {f"p({name})": probabilities[:, k] for k, name in enumerate(names)}

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if shape != self.input_shape:
            raise UserError(f"samples of {name} have shape {shape}, but the model was trained on {self.input_shape}")


def open_finished(directory: Path, weights: str, device: Device = CPU) -> Finished:
    """Open the ``weights`` (last or best) of the run in ``directory``.

    Raises
    ------
    UserError
        If there is no whole run.
    """
    if not (directory / CONFIG).is_file():
        raise UserError(f"{directory} is no run directory: it has no {CONFIG}")
    return Finished(read_config(directory / CONFIG), directory / {"last": LAST, "best": BEST}[weights], device)

"""Results of the model as the bodies of answers.

Shapes: n samples, K classes or targets; H, W height and width of an image.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from ..data.dataset import CLASSIFICATION, SEGMENTATION
from ..training.directory.trained_model import TrainedModel

FEW_CLASSES, TOP = 20, 5
"""The probabilities of up to so many classes are all written, and otherwise those of the most probable ones."""


_Rows = Callable[[Any, int], list[Any]]


class Answers:
    """Writer of the bodies of answers.

    Parameters
    ----------
    run : TrainedModel
    """

    def __init__(self, run: TrainedModel):
        self._run = run
        task = run.signature.task
        self._names = run.class_names
        self.top = len(self._names) if len(self._names) <= FEW_CLASSES else TOP
        self._rows: _Rows = self._values
        if task == CLASSIFICATION:
            self._rows = self._classes
        elif task == SEGMENTATION:
            self._rows = self._maps

    def json(self, results: Any, top: int = 0) -> bytes:
        """Return the results as JSON: {"predictions": [...]}, one for each input in their order.

        Numbers are written as short as they can be read back to the same bits.

        Parameters
        ----------
        top : int
            The number of classes whose probabilities are written, the most probable first; 0 for the usual ones.
        """
        return orjson.dumps({"predictions": self._rows(results, top)}, option=orjson.OPT_SERIALIZE_NUMPY)

    def npy(self, results: Any) -> bytes:
        """Return the results in NumPy's format: probabilities (n, K), values (n, K) or classes (n, H, W)."""
        file = io.BytesIO()
        array: np.ndarray = results[0] if isinstance(results, tuple) else results
        np.lib.format.write_array(file, array, allow_pickle=False)
        return file.getvalue()

    def _classes(self, probabilities: np.ndarray, top: int) -> list[dict[str, Any]]:
        names = self._names
        if (top or self.top) < len(names):
            return [self._most_probable(row, top or self.top) for row in probabilities]
        best = probabilities.argmax(axis=1).tolist()
        return [
            {"class": names[k], "probability": row[k], "probabilities": dict(zip(names, row))}
            for k, row in zip(best, probabilities)
        ]

    def _most_probable(self, row: np.ndarray, top: int) -> dict[str, Any]:
        order = np.argsort(-row, kind="stable")[:top].tolist()
        shown = {self._names[k]: row[k] for k in order}
        return {"class": self._names[order[0]], "probability": row[order[0]], "probabilities": shown}

    def _maps(self, results: tuple[np.ndarray, np.ndarray], top: int) -> list[dict[str, Any]]:
        classes, probabilities = self._run.maps(*results)["class"], results[1]
        return [
            {"class": np.ascontiguousarray(one), "probability": np.ascontiguousarray(sure)}
            for one, sure in zip(classes, probabilities)
        ]

    def _values(self, values: np.ndarray, top: int) -> list[dict[str, Any]]:
        names = self._run.target_names(values.shape[1])
        return [dict(zip(names, row)) for row in values.tolist()]

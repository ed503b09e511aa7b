"""Signature of a model: its inputs and outputs, taken from its training data.

It is stored with the weights and in every checkpoint. Evaluation, prediction and resuming go by it: columns and classes
are found by their names, never by their place in another file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..categories import Category, categories_from, facts_of
from ..dataset import Dataset
from ..tables.encoding import Encoding

_ELEMENTS = 1 << 22  # looked at in one go
_RATIO = 10.0  # between the largest values that is worth a warning
_FEW = 20  # values that say little about a scale


@dataclass(frozen=True)
class Extremes:
    """The least and the largest value of each channel (images) or column (tables), as (C,) arrays of float64."""

    least: np.ndarray
    most: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, rows: slice = slice(None)) -> "Extremes":
        """Return the extremes of some rows of ``x`` (N, ..., C); infinite without rows."""
        least, most = np.full(x.shape[1:], np.inf), np.full(x.shape[1:], -np.inf)
        start, stop, _ = rows.indices(len(x))
        at_once = max(1, _ELEMENTS // max(1, math.prod(x.shape[1:])))
        for first in range(start, stop, at_once):
            part = x[first : min(first + at_once, stop)]
            least, most = np.minimum(least, part.min(axis=0)), np.maximum(most, part.max(axis=0))
        channels = x.shape[-1]  # last: it is quicker to reduce over samples, and over pixels only at the end
        return cls(least.reshape(-1, channels).min(axis=0), most.reshape(-1, channels).max(axis=0))

    @property
    def size(self) -> np.ndarray:
        """The largest magnitude in each channel."""
        size: np.ndarray = np.maximum(np.abs(self.least), np.abs(self.most))
        return size


@dataclass(frozen=True)
class Signature:
    """Description of the training data of a model.

    Attributes
    ----------
    task, input_shape, num_outputs, class_names, feature_names, target_name
        As in ``Dataset``; class k is output k, column i is input i.
    source, absolute_source : str
        As given, and with an absolute path; empty if an older version has written the weights.
    dtype : str
        Dtype of the samples; empty as above.
    extremes : Extremes or None
        Extremes of the training samples.
    contents : dict of str to str
        Their fingerprint (``fingerprint.contents``).
    vocabulary, end_of_text
        As in ``Dataset``.
    tokenizer : str
        The digest of the tokenizer; empty where there is none.
    masked, categories, encoding
        As in ``Dataset``.
    """

    task: str
    input_shape: tuple[int, ...]
    num_outputs: int
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    source: str = ""
    absolute_source: str = ""
    dtype: str = ""
    extremes: Extremes | None = None
    contents: dict[str, str] = field(default_factory=dict)
    vocabulary: int = 0
    end_of_text: int | None = None
    tokenizer: str = ""
    masked: bool = False
    categories: tuple[Category | None, ...] = ()
    encoding: Encoding | None = None

    @classmethod
    def of(cls, dataset: Dataset, **more: Any) -> "Signature":
        """Return the signature of a dataset; ``more`` are further attributes."""
        return cls(
            dataset.task,
            dataset.input_shape,
            dataset.num_outputs,
            dataset.class_names,
            dataset.feature_names,
            dataset.target_name,
            dtype=dataset.train.x.dtype.name,
            vocabulary=dataset.vocabulary,
            end_of_text=dataset.end_of_text,
            tokenizer="" if dataset.tokenizer is None else dataset.tokenizer.digest,
            masked=dataset.masked,
            categories=dataset.categories,
            encoding=dataset.encoding,
            **more,
        )

    def facts(self) -> dict[str, Any]:
        """Return the signature as a JSON-able dict, to be read by ``from_facts``."""
        extremes = self.extremes
        tokens = {"vocabulary": self.vocabulary, "end_of_text": self.end_of_text, "tokenizer": self.tokenizer}
        if self.masked:
            tokens["masked"] = True
        categories = facts_of(self.categories)
        return {
            **({"tokens": tokens} if self.vocabulary else {}),
            **({"categories": categories} if categories else {}),
            **({} if self.encoding is None else {"encoding": self.encoding.facts()}),
            "input_shape": list(self.input_shape),
            "num_outputs": self.num_outputs,
            "task": self.task,
            "class_names": list(self.class_names),
            "feature_names": list(self.feature_names),
            "target_name": self.target_name,
            "data": {
                "source": self.source,
                "absolute_source": self.absolute_source,
                "dtype": self.dtype,
                "least": [] if extremes is None else extremes.least.tolist(),
                "most": [] if extremes is None else extremes.most.tolist(),
                "contents": self.contents,
            },
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Signature":
        """Return the signature stored in the metadata of weights or of a checkpoint.

        Raises
        ------
        KeyError, TypeError, ValueError
            If there is none, or not in this form.
        """
        data = dict(facts.get("data", {}))  # older weights have none
        tokens = dict(facts.get("tokens", {}))
        end = tokens.get("end_of_text")
        least, most = (np.array(data.get(name, []), np.float64) for name in ("least", "most"))
        categories = categories_from(facts.get("categories", ()))
        encoding = Encoding.from_facts(facts["encoding"], categories) if "encoding" in facts else None
        return cls(
            task=str(facts["task"]),
            input_shape=tuple(int(n) for n in facts["input_shape"]),
            num_outputs=int(facts["num_outputs"]),
            class_names=tuple(map(str, facts["class_names"])),
            feature_names=tuple(map(str, facts["feature_names"])),
            target_name=str(facts["target_name"]),
            source=str(data.get("source", "")),
            absolute_source=str(data.get("absolute_source", "")),
            dtype=str(data.get("dtype", "")),
            extremes=Extremes(least, most) if least.size and least.shape == most.shape else None,
            contents={str(name): str(text) for name, text in data.get("contents", {}).items()},
            vocabulary=int(tokens.get("vocabulary", 0)),
            end_of_text=None if end is None else int(end),
            tokenizer=str(tokens.get("tokenizer", "")),
            masked=bool(tokens.get("masked", False)),
            categories=categories,
            encoding=encoding,
        )

    def complaint(self, dtype: str, found: Extremes, num_samples: int) -> str:
        """Return the difference in dtype or scale between samples and the training samples; empty without one.

        Parameters
        ----------
        dtype : str
        found : Extremes
            Extremes of all samples.
        num_samples : int
        """
        if self.extremes is None or self.extremes.least.shape != found.least.shape:
            return ""
        then, now = self.extremes.size, found.size
        few = num_samples * int(np.prod(self.input_shape[:-1])) < _FEW  # then small values are no surprise
        odd = (now > _RATIO * then) | ((now > 0) & (_RATIO * now < then) & (not few))
        if self.categories:
            odd &= [one is None for one in self.categories]  # codes have no scale
        if odd.any():
            ratio = np.where(odd, np.maximum(now, 1e-300) / np.maximum(then, 1e-300), 1.0)
            k = int(np.argmax(np.abs(np.log(ratio))))
            where = f"column {self.feature_names[k]!r} has" if self.feature_names else "samples have"
            return (
                f"{where} {dtype} values from {found.least[k]:g} to {found.most[k]:g}, but the model was trained on "
                f"{self.dtype} from {self.extremes.least[k]:g} to {self.extremes.most[k]:g}: is the scale the same?"
            )
        if (dtype == "uint8") != (self.dtype == "uint8"):
            return f"samples are {dtype}, but the model was trained on {self.dtype}: is the scale the same?"
        return ""

"""Description of a model's inputs and outputs, for GET /model and the page."""

from typing import Any

from ..data.categories import Category
from ..data.matching.signature import Extremes
from ..data.tables.cells import Role
from ..data.tables.rows import columns_of
from ..training.directory.trained_model import TrainedModel
from .continuations import KINDS

MANY_VALUES = 200  # of a category


def describe(run: TrainedModel, name: str, kind: str) -> dict[str, Any]:
    """Return the facts as a JSON-able dict.

    Parameters
    ----------
    name : str
        Of the run.
    kind : str
        As in ``Inputs``.
    """
    then = run.signature
    facts: dict[str, Any] = {"run": name, "model": run.model_text, "task": then.task, "kind": kind}
    if kind == "prompt":
        return facts | {"path": "/generate", "keys": list(KINDS)}
    facts |= {"path": "/predict", "input_shape": list(then.input_shape), "trained_on": then.dtype}
    if kind == "table" and columns_of(then):
        facts["columns"] = _columns(run)
    if then.task == "regression":
        facts["targets"] = run.target_names(then.num_outputs)
    else:
        facts["classes"] = list(run.class_names)
    if then.extremes is not None and kind == "image":
        facts["range"] = [float(then.extremes.least.min()), float(then.extremes.most.max())]
    return facts


def _columns(run: TrainedModel) -> list[dict[str, Any]]:
    then = run.signature
    if then.encoding is None:
        categories = then.categories or (None,) * len(then.feature_names)
        return [
            _column(name, one, then.extremes, k)
            for k, (name, one) in enumerate(zip(then.feature_names, categories, strict=True))
        ]
    columns = []
    for rule, start in zip(then.encoding.rules, then.encoding.starts.tolist(), strict=True):
        column = _column(rule.name, rule.category, None if rule.role == Role.DATE else then.extremes, start)
        if rule.role == Role.DATE:
            column["date"] = True
        if rule.indicator:
            column["may_miss"] = True
        columns.append(column)
    return columns


def _column(name: str, category: Category | None, extremes: Extremes | None, place: int) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name}
    if category is not None:
        column["categories"] = category.size - 1
        if category.values is not None:
            column["values"] = category.values[:MANY_VALUES].tolist()
    elif extremes is not None and place < len(extremes.least):
        column["least"], column["most"] = float(extremes.least[place]), float(extremes.most[place])
    return column

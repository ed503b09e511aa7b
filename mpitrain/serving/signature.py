"""Description of a model's inputs and outputs, for GET /model and the page."""

from typing import Any

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
    if then.feature_names:
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
    columns = []
    for k, name in enumerate(then.feature_names):
        column: dict[str, Any] = {"name": name}
        category = then.categories[k] if then.categories else None
        if category is not None:
            column["categories"] = category.size - 1
            if category.values is not None:
                column["values"] = category.values[:MANY_VALUES].tolist()
        elif then.extremes is not None and len(then.extremes.least) == len(then.feature_names):
            column["least"], column["most"] = float(then.extremes.least[k]), float(then.extremes.most[k])
        columns.append(column)
    return columns

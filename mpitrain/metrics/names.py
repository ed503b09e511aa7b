"""Metrics by name: ``accuracy``, ``topk:k=3``, ``f1:average=weighted``, or ``FILE.py:FUNC`` for a user's own."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from ..registry import Later, Option, Registry, split_names
from .auc import AUC
from .base import LANGUAGE_MODELING, SEGMENTATION, Metric, SummedMetric
from .classes import F1, Accuracy, Confusion, Top5, TopK
from .function import FunctionMetric
from .overlap import IoU, MeanIoU
from .ranking import NDCG, Recall
from .values import MAE, R2

Gather = Callable[[Any], list[Any]]
Spec = str | Metric | Callable[..., Any]


class _Metrics(Registry[Metric]):
    """Metrics, which are classes with the argument (num_outputs), and users' functions of (outputs, targets)."""

    def options(self, function: Callable[..., Metric]) -> list[Option]:
        options = super().options(function)
        return options[1:] if is_plain(function) else options

    def of(self, spec: Spec, num_outputs: int) -> Metric:
        """Return the metric ``spec``, or the one that it names."""
        if isinstance(spec, Metric):
            return spec
        function, name, options = self.find(spec) if isinstance(spec, str) else (spec, "", {})
        if not is_plain(function):
            return self.make(spec, num_outputs) if isinstance(spec, str) else function(num_outputs)
        parameters = inspect.signature(function).parameters.values()
        if sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) < 2:
            raise UserError(f"{name or function!r} must take (outputs, targets), as every metric of your own does")
        return FunctionMetric(num_outputs, function, options, name)


def is_plain(function: Callable[..., Any]) -> bool:
    """Return whether a metric is a function of outputs and targets, not a class."""
    return not (inspect.isclass(function) and issubclass(function, Metric))


METRICS = _Metrics(
    "metric",
    {
        "accuracy": Accuracy,
        "top5": Top5,
        "topk": TopK,
        "f1": F1,
        "auc": AUC,
        "ap": Later(f"{__package__}.average_precision", "AveragePrecision"),
        "ece": Later(f"{__package__}.calibration", "CalibrationError"),
        "brier": Later(f"{__package__}.calibration", "Brier"),
        "confusion": Confusion,
        "recall": Recall,
        "ndcg": NDCG,
        "iou": IoU,
        "miou": MeanIoU,
        "mae": MAE,
        "r2": R2,
    },
    arguments=("num_outputs",),
    result=Metric,
)


def make_metric(spec: Spec, num_outputs: int, task: str = "") -> Metric:
    """Return a metric.

    Parameters
    ----------
    spec : str, Metric or callable
        A text (see this module), a metric, a class of metrics, or a function (outputs, targets) -> float.
    num_outputs : int
    task : str
        classification, regression, segmentation or language-modeling; the metric must be for that. Empty for any.

    Raises
    ------
    UserError
        For an unknown name or option, or a metric of the other task.

    >>> top = make_metric("topk:k=2", 3)
    >>> top.update(np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]]), np.array([2, 1]))
    >>> top.name, top.result()
    ('top2', 0.5)
    """
    metric = METRICS.of(spec, num_outputs)
    if task == LANGUAGE_MODELING and not metric.of_tokens:
        raise UserError(f"the metric '{metric.name}' is not for {task}: accuracy, top5 and topk are")
    if task == SEGMENTATION and metric.task == "classification":
        if not isinstance(metric, SummedMetric):
            raise UserError(f"the metric '{metric.name}' would gather the outputs of all pixels: it is not for {task}")
        return metric
    if task not in ("", LANGUAGE_MODELING) and metric.task not in ("any", task):
        raise UserError(f"the metric '{metric.name}' is for {metric.task}, and the task is {task}")
    return metric


def split_metrics(text: str) -> list[str]:
    """Return the metrics in a comma-separated text, in which options belong to the metric before them.

    >>> split_metrics("accuracy,topk:k=3,mine.py:score:a=1,b=2,auc")
    ['accuracy', 'topk:k=3', 'mine.py:score:a=1,b=2', 'auc']
    """
    return split_names(text)


def make_metrics(specs: str | Sequence[Spec], num_outputs: int, task: str = "") -> "MetricSet":
    """Return metrics that are counted together.

    Parameters
    ----------
    specs : str or sequence
        A text with commas, or what ``make_metric`` takes.

    Raises
    ------
    UserError
        As ``make_metric``, or if two have one name.
    """
    given: Sequence[Spec] = split_metrics(specs) if isinstance(specs, str) else specs
    metrics = [make_metric(spec, num_outputs, task) for spec in given]
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"the metric '{name}' is given twice")
    return MetricSet(metrics)


class MetricSet:
    """Metrics that are counted together, and sent in one message."""

    def __init__(self, metrics: Sequence[Metric] = ()):
        self.metrics = tuple(metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def reset(self) -> None:
        """Forget all samples."""
        for metric in self.metrics:
            metric.reset()

    def update(
        self,
        outputs: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
        hide: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Count samples; see ``Metric.update``.

        Parameters
        ----------
        hide : callable(outputs) -> array, optional
            Returns outputs for metrics of rankings.
        """
        hidden = None
        for metric in self.metrics:
            if hide is not None and metric.of_rankings:
                hidden = hide(outputs) if hidden is None else hidden
            metric.update(outputs if hidden is None or not metric.of_rankings else hidden, targets, weights)

    def gather(self, all_gather: Gather) -> None:
        """Combine the samples of all ranks (collective).

        Parameters
        ----------
        all_gather : callable(object) -> list
            Returns what each rank gave, in the order of ranks.
        """
        if self.metrics:
            states = all_gather([metric.state() for metric in self.metrics])
            for metric, of_ranks in zip(self.metrics, zip(*states)):
                metric.merge(of_ranks)

    def results(self) -> dict[str, float | np.ndarray]:
        """Return the results by name."""
        return {metric.name: metric.result() for metric in self.metrics}

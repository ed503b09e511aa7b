"""Metrics: exact scores of a whole split, with the same bits on any number of ranks.

Nothing here knows of MPI: states are gathered by a function that the caller has (``MetricSet.gather``).
"""

from .auc import AUC, area_under_roc
from .base import GatheredMetric, Metric, SummedMetric
from .classes import F1, Accuracy, Confusion, TopK
from .exact import ExactSums, exact_product
from .function import FunctionMetric
from .names import METRICS, MetricSet, make_metric, make_metrics, split_metrics
from .overlap import IoU, MeanIoU
from .ranking import NDCG, Ranking, Recall
from .values import MAE, R2

__all__ = [
    "AUC",
    "F1",
    "MAE",
    "METRICS",
    "NDCG",
    "R2",
    "Accuracy",
    "Confusion",
    "ExactSums",
    "FunctionMetric",
    "GatheredMetric",
    "IoU",
    "MeanIoU",
    "Metric",
    "MetricSet",
    "Ranking",
    "Recall",
    "SummedMetric",
    "TopK",
    "area_under_roc",
    "exact_product",
    "make_metric",
    "make_metrics",
    "split_metrics",
]

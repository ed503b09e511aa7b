"""Results of metrics on any number of ranks, in one process."""

import numpy as np

from mpitrain.data.sampler import share
from mpitrain.metrics import make_metrics


def results(specs, outputs, targets, size, weights=None, batch=7):
    """Return the results that the last of ``size`` ranks has, each having counted its share in batches."""
    ranks = [make_metrics(specs, outputs.shape[1]) for _ in range(size)]
    for rank, metrics in enumerate(ranks):
        rows = share(len(outputs), rank, size)
        metrics.update(outputs[:0], targets[:0])
        for first in range(rows.start, rows.stop, batch):
            part = slice(first, min(first + batch, rows.stop))
            metrics.update(outputs[part], targets[part], None if weights is None else weights[part])
    states = [[metric.state() for metric in metrics.metrics] for metrics in ranks]
    for metrics in ranks:
        metrics.gather(lambda mine: states)
    found = [metrics.results() for metrics in ranks]
    for other in found:
        np.testing.assert_equal(other, found[-1])
    return found[-1]


def one(spec, outputs, targets, size=1, weights=None):
    return next(iter(results([spec], np.asarray(outputs), np.asarray(targets), size, weights).values()))

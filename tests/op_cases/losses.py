"""Softmax and losses."""

import functools

import numpy as np

from mpitrain.device import CPU
from mpitrain.ops import OPS
from tests.op_cases.registry import covers


@covers("softmax", "softmax_dx")
def softmax(draw, run):
    y, dx = draw.empty(9, 33), draw.empty(9, 33)
    run("softmax", draw.normal(9, 33), y)
    run("softmax_dx", y, draw.normal(9, 33), dx)
    return [y, dx]


@covers("cross_entropy", "cross_entropy_dx")
def cross_entropy(draw, run):
    results = []
    for m, k, smoothing in ((0, 3, 0.0), (50, 7, 0.0), (50, 70, 0.1)):
        e, sums = draw.empty(m, k), draw.empty(m + 1, 3)
        totals, state = run("cross_entropy", draw.normal(m, k), draw.integers(0, k, m), smoothing, -100, e, sums)
        run("cross_entropy_dx", e, state, smoothing)
        results += [draw.device.to_host(totals), e]
    # with class weights there is no path in C: NumPy weighs what softmax_cross_entropy has computed
    forward, backward = OPS["cross_entropy"], OPS["cross_entropy_dx"]
    if draw.device is not CPU:
        forward, backward = functools.partial(run, forward.name), functools.partial(run, backward.name)
    e, sums, weights = draw.empty(50, 7), draw.empty(51, 3), draw.normal(7) ** 2
    totals, state = forward(draw.normal(50, 7), draw.integers(0, 7, 50), 0.1, -100, e, sums, weights)
    backward(e, state, 0.1)
    return [*results, draw.device.to_host(totals), e]


@covers("cross_entropy_gradient")
def cross_entropy_gradient(draw, run):
    results, totals = [], None if draw.device is CPU else draw.empty(3)
    for m, k, smoothing, weighted in (
        (0, 3, 0.0, False),
        (50, 7, 0.0, False),
        (50, 70, 0.1, True),
        (3, 4100, 0.0, False),
    ):
        logits, targets = draw.normal(m, k), draw.integers(0, k, m)
        weights = draw.normal(k) ** 2 if weighted else None
        found = run("cross_entropy_gradient", logits, targets, smoothing, 2, weights, totals)
        results += [draw.device.to_host(found), logits]
    return results


@covers("softmax_cross_entropy", "softmax_cross_entropy_dx")
def softmax_cross_entropy(draw, run):
    e, row_sums, targets = draw.empty(20, 9), draw.empty(20, 1), draw.integers(0, 9, 20)
    losses = run("softmax_cross_entropy", draw.normal(20, 9), targets, 0.1, e, row_sums)
    before = e.copy()
    run("softmax_cross_entropy_dx", e, row_sums, targets, 0.1, np.arange(20) % 3 > 0)
    return [losses, before, row_sums, e]


@covers("squared_error", "squared_error_dx")
def squared_error(draw, run):
    y, t, difference, sums = draw.normal(70, 3), draw.normal(70, 3), draw.empty(70, 3), draw.empty(257, 3)
    totals = run("squared_error", y, t, difference, sums)
    run("squared_error_dx", difference)
    return [draw.device.to_host(totals), difference]

"""Updates of weights, and the sums before them."""

import numpy as np

from mpitrain.ops.lars import Piece, Pieces, Rates
from mpitrain.ops.reduce import Sources
from mpitrain.ops.update import AdamStep, Block
from tests.op_cases.registry import covers


@covers("sum_over_ranks")
def sum_over_ranks(draw, run):
    results = []
    for shape in ((2, 0), (1, 9), (4, 33), (7, 1024)):
        results.append(draw.empty(shape[1]))
        run("sum_over_ranks", draw.normal(*shape), results[-1])
    return results


@covers("sum_of_squares", "sum_sources")
def sums(draw, run):
    arrays, target = [draw.normal(3001) for _ in range(3)], draw.empty(3001)
    squares = run("sum_sources", target, Sources(arrays))
    return [target, squares, run("sum_of_squares", arrays[0])]


@covers("sum_of_squares_in_parts")
def squares_in_parts(draw, run):
    parts = draw.empty(7)
    run("sum_of_squares_in_parts", draw.normal(3001), parts)
    return [draw.device.to_host(parts).sum()]


def block(draw, slots, bounds=(0, 160, 320, 500)):
    """Return a block of 500 elements, some of which decay: parameters begin at multiples of 16 elements."""
    moments = tuple(np.abs(draw.normal(500)) for _ in range(slots))
    return Block(draw.normal(500), Sources([draw.normal(500)]), moments, np.array(bounds, np.int64))


@covers("step_numbers")
def step_numbers(draw, run):
    results = []
    for max_norm in (0.0, 0.01, 1e6):
        given, numbers = draw.device.from_host(np.array([0.3, 1e-3, 0.5])), draw.empty(4)
        run("step_numbers", np.abs(draw.normal(3)) + 5, np.abs(draw.normal(256)), given, max_norm, numbers)
        results.append(numbers)
    return results


@covers("sgd_update")
def sgd(draw, run):
    results = []
    for slots, momentum, nesterov in ((0, 0.0, False), (1, 0.9, False), (1, 0.9, True)):
        made = block(draw, slots)
        run("sgd_update", made.w, made, 0.1, 0.01, momentum, nesterov)
        results += [made.w, *made.slots]
    return results


@covers("adagrad_update")
def adagrad(draw, run):
    made = block(draw, 1)
    run("adagrad_update", made.w, made, 0.5, 0.1, 0.01, 1e-8)
    return [made.w, *made.slots]


@covers("adam_update")
def adam(draw, run):
    results = []
    for decay, shrink in ((0.1, 0.0), (0.0, 0.01)):
        made = block(draw, 2)
        run("adam_update", made.w, made, AdamStep(0.5, decay, shrink, 0.9, 0.999, 0.01, 1e-8))
        results += [made.w, *made.slots]
    return results


@covers("lars_update")
def lars(draw, run):
    whole = 0, 500
    blocks = [[block(draw, 1, ())], [block(draw, 1, whole), block(draw, 1, whole)]]
    pieces = Pieces([Piece(i, i == 1, each) for i, each in enumerate(blocks)], 2, None)
    run("lars_update", blocks[0][0].w, pieces, Rates(0.1, 0.5, 0.9, 0.01, 0.02))
    return [array for each in blocks for made in each for array in (made.w, *made.slots)]

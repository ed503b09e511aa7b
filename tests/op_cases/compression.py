"""Codecs of gradients."""

import numpy as np

from mpitrain.ops.compress import message_bytes
from tests.op_cases.registry import covers

CODECS = {"bf16": (1, 2, ()), "int8": (64, 64, (64,)), "fp16": (256, 512, ()), "sign": (256, 32, ())}


@covers(*(f"{what}_{codec}" for codec in CODECS for what in ("encode", "decode")))
def messages(draw, run):
    """Messages as they are decoded, and the errors that are kept; factors whose products are exact."""
    results = []
    for n in (0, 1, 63, 256, 1000):
        x, error = draw.normal(n), draw.normal(n)
        for codec, (block, payload, options) in CODECS.items():
            for kept, add in ((error.copy(), False), (draw.empty(0), True)):
                size = 2 * n if codec == "bf16" else message_bytes(n, block, payload)
                message, y = draw.empty(size, dtype=np.uint8), draw.normal(n) if add else draw.empty(n)
                run(f"encode_{codec}", x, kept, message, 0.5, 0.25, 2.0, *options)
                run(f"decode_{codec}", message, y, add, *options)
                results += [y, kept]
    return results


@covers("thin_product")
def thin_products(draw, run):
    results = []
    for n, m, r in [(0, 3, 1), (1, 1, 1), (5, 33, 4), (40, 7, 2)]:
        for add in (False, True):
            results.append(draw.normal(n, m) if add else draw.empty(n, m))
            run("thin_product", draw.normal(n, r), draw.normal(r, m), results[-1], add)
    return results


@covers("largest_places")
def places_of_the_largest(draw, run):
    results = []
    for n, k in [(1, 1), (64, 7), (1000, 1), (1000, 999)]:
        results.append(draw.integers(0, 1, k))
        run("largest_places", draw.normal(n), results[-1])
    return results


@covers("add_error", "keep_rest", "spoil", "step_factors")
def carried_errors(draw, run):
    """The weight of the step as numbers, and as the device has it; once with a NaN."""
    results = []
    for n in (0, 1, 1030):
        x, error, message, bad = draw.normal(n), draw.normal(n), draw.normal(n), draw.empty(1)
        weight, factors = draw.device.from_host(np.full(1, 0.5, draw.dtype)), draw.empty(3)
        run("step_factors", weight, factors)
        for inject, keep, inverse in ((0.5, 0.25, 2.0), tuple(factors[k] for k in range(3))):
            for number in (0.0, np.nan):
                bad.fill(number)
                run("add_error", x, error, inject, bad)
                run("add_error", x, error[:0], 0.0, None)
                run("keep_rest", x, error, keep, inverse, bad)
                run("spoil", message, bad)
                results += [x.copy(), error.copy(), message.copy(), bad.copy(), factors]
    return results


@covers("take_places", "put_places", "clear_places")
def places_of_an_array(draw, run):
    results = []
    for n, k in ((0, 0), (1, 1), (500, 300)):
        places = draw.device.from_host(draw.rng.choice(n, k, replace=False).astype(np.int32))
        u, values = draw.normal(n), draw.empty(k)
        run("take_places", u, places, values, 0.5)
        results.append(values.copy())
        for add in (True, False):
            run("put_places", u, places, values, add)
            results.append(u.copy())
        run("clear_places", u, places)
        results.append(u)
    return results


@covers("project", "orthonormalize", "restart_columns", "keep_finite")
def thin_factors(draw, run):
    results = []
    for n, m, r in ((1, 1, 1), (40, 33, 3), (7, 130, 4)):
        matrix, basis, left, right = draw.normal(n, m), draw.normal(m, r), draw.empty(n, r), draw.empty(m, r)
        basis[:, 0] = 0
        draws = draw.normal(m, r)
        run("restart_columns", basis, lambda draws=draws: draws)
        run("project", matrix, basis, left, False)
        run("orthonormalize", left)
        run("project", matrix, left, right, True)
        run("keep_finite", right, basis)
        results += [left, right, basis.copy()]
        right.fill(np.inf)
        run("keep_finite", right, basis)
        results.append(basis)
    return results

"""Norms of batches and of rows."""

from itertools import product

import numpy as np

from mpitrain.device import CPU
from mpitrain.ops.batchnorm import Norm
from mpitrain.ops.gradient import Gradient
from tests.op_cases.registry import covers


@covers("batchnorm_train", "batchnorm_evaluate", "batchnorm_backward")
def batchnorm(draw, run):
    results = []
    for relu, added in product((False, True), repeat=2):
        for sums in (None, lambda total: draw.device.to_host(total)):
            x, y, c = draw.normal(3, 4, 5, 6), draw.empty(3, 4, 5, 6), 6
            states = draw.normal(c), draw.device.from_host(np.ones(c, draw.dtype))
            norm = Norm(draw.normal(c), draw.normal(c), *states, 0.1, 1e-5, relu, sums)
            residual = draw.normal(*x.shape) if added else None
            kept = run("batchnorm_train", x, norm, y, draw.keep, None, residual)
            dw, db, dx, dy = draw.empty(c), draw.normal(c), draw.empty(*x.shape), draw.normal(*x.shape)
            gradients = Gradient(dw, False), Gradient(db, True)
            seen, masks = y if relu else None, relu and added
            run("batchnorm_backward", dy, x, seen, norm, kept, *gradients, dx, masks)
            results += [y, *states, dw, db, dx, *([dy] if masks else [])]
            results.append(draw.empty(*x.shape))
            run("batchnorm_evaluate", x, norm, results[-1], residual)
    return results


@covers("batchnorm", "batchnorm_statistics", "batchnorm_sums", "batchnorm_dx")
def batchnorm_passes(draw, run):
    results, c = [], 6
    for relu in (False, True):
        x, y, dy, dx = draw.normal(3, 4, 5, c), draw.empty(3, 4, 5, c), draw.normal(3, 4, 5, c), draw.empty(3, 4, 5, c)
        mean, squares, sums, dots = np.empty((4, c))
        run("batchnorm_statistics", x, mean, squares)
        vectors = draw.rng.standard_normal((5, c))
        run("batchnorm", x, mean, vectors[0], vectors[1], y, relu)
        seen = y if relu else None
        run("batchnorm_sums", dy, x, mean, seen, sums, dots)
        run("batchnorm_dx", dy, x, mean, seen, *vectors[2:], dx)
        results += [mean, squares, y, sums, dots, dx]
    return results


@covers("add_layernorm", "add_layernorm_backward")
def add_layernorm(draw, run):
    results = []
    for m, c in ((0, 3), (40, 21), (3, 320), (150, 32)):
        x, w, dy, s, y, dx = (draw.normal(*shape) for shape in ((m, c), (c,), (m, c), (m, c), (m, c), (m, c)))
        for residual in (None, draw.normal(m, c)):
            into = x if residual is None else s
            kept = run("add_layernorm", x, residual, w, draw.normal(c), 1e-5, into, y, draw.keep)
            dw, db, more = draw.empty(c), draw.normal(c), None if residual is None else draw.normal(m, c)
            run("add_layernorm_backward", dy.copy(), kept, w, Gradient(dw, False), Gradient(db, True), more, dx)
            results += [into.copy(), y.copy(), dw, db, dx.copy()]
    return results


@covers("add_rmsnorm", "add_rmsnorm_backward")
def add_rmsnorm(draw, run):
    results = []
    for m, c in ((0, 3), (40, 21), (3, 320), (150, 32)):
        x, w, dy, s, y = (draw.normal(*shape) for shape in ((m, c), (c,), (m, c), (m, c), (m, c)))
        for residual in (None, draw.normal(m, c)):
            into = x if residual is None else s
            kept = run("add_rmsnorm", x, residual, w, 1e-5, into, y, draw.keep)
            dw, dx, more = draw.normal(c), dy.copy(), None if residual is None else draw.normal(m, c)
            run("add_rmsnorm_backward", dx, kept, w, Gradient(dw, True), more, dx)
            results += [into.copy(), y.copy(), dw, dx]
    return results


@covers("layernorm", "layernorm_dw", "layernorm_dx", "layernorm_gradients", "layernorm_backward")
def layernorm(draw, run):
    results = []
    for m, c in ((0, 3), (40, 21), (150, 32)):
        x, w, dy = draw.normal(m, c), draw.normal(c), draw.normal(m, c)
        z, y, r, dx = draw.empty(m, c), draw.empty(m, c), draw.empty(m, 1), draw.empty(m, c)
        run("layernorm", x, w, draw.normal(c), 1e-5, z, r, y)
        dw, db = draw.empty(c), draw.normal(c)
        run("layernorm_gradients", dy, z, Gradient(dw, False), Gradient(db, True))
        if draw.device is CPU:  # on a GPU, only as a part of the op before
            results.append(draw.empty(2, c))
            run("layernorm_dw", dy, z, results[-1])
        both, again = Gradient(draw.normal(c), True), Gradient(draw.empty(c), False)
        run("layernorm_backward", draw.normal(m, c), z, r, w, both, again, dx)
        results += [both.array, again.array, dx.copy()]
        run("layernorm_dx", dy, z, r, w, dx)
        results += [y, z, r, dw, db, dx]
    return [x for x in results if x.shape[0] != 2 or x.ndim != 2]


@covers("rmsnorm", "rmsnorm_backward")
def rmsnorm(draw, run):
    results = []
    for m, c in ((0, 3), (140, 21), (3, 64)):
        x, w, dy = draw.normal(m, c), draw.normal(c), draw.normal(m, c)
        y, r, dx, dw = draw.empty(m, c), draw.empty(m, 1), draw.empty(m, c), draw.empty(c)
        run("rmsnorm", x, w, 1e-5, r, y)
        for accumulate in (False, True):
            run("rmsnorm_backward", dy, x, r, w, Gradient(dw, accumulate), dx)
        run("rmsnorm_backward", dy, x, r, w, Gradient(draw.empty(c), False), dy)
        results += [y, r, dw, dx, dy]
    return results

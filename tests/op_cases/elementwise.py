"""Activations, conversions and masks."""

import numpy as np

from mpitrain.device import bfloat16
from mpitrain.ops.dropout import Masks
from tests.op_cases.registry import covers

SHAPES = [(0,), (1,), (7, 5), (3, 4, 33)]


@covers("relu", "tanh", "sigmoid")
def activations(draw, run):
    results = []
    for shape in SHAPES:
        for name in ("relu", "tanh", "sigmoid"):
            results.append(draw.empty(*shape))
            run(name, draw.normal(*shape), results[-1])
    return results


@covers("relu_dx", "tanh_dx", "sigmoid_dx")
def activations_dx(draw, run):
    results = []
    for shape in SHAPES:
        for name in ("relu_dx", "tanh_dx", "sigmoid_dx"):
            results.append(draw.empty(*shape))
            run(name, draw.normal(*shape), draw.normal(*shape), results[-1])
    return results


@covers("add", "multiply", "add_relu", "add_relu_dx")
def sums_and_products(draw, run):
    results = []
    for shape in SHAPES:
        for name in ("add", "multiply", "add_relu"):
            results.append(draw.empty(*shape))
            run(name, draw.normal(*shape), draw.normal(*shape), results[-1])
        dy, copy = draw.normal(*shape), draw.empty(*shape)
        run("add_relu_dx", draw.normal(*shape), dy, copy)
        results += [dy, copy]
    return results


@covers("convert")
def convert(draw, run):
    results = []
    for shape in SHAPES:
        rounded, back = draw.empty(*shape, dtype=bfloat16()), draw.empty(*shape, dtype=np.float32)
        run("convert", draw.normal(*shape), rounded)
        run("convert", rounded, back)
        results += [rounded, back]
    return results


@covers("silu", "silu_dx")
def silu(draw, run):
    results = []
    for shape in SHAPES:
        s, y, dx = (draw.empty(*shape) for _ in range(3))
        run("silu", draw.normal(*shape), s, y)
        run("silu_dx", s, y, draw.normal(*shape), dx)
        results += [s, y, dx]
    return results


@covers("gelu", "gelu_tanh", "gelu_dx")
def gelu(draw, run):
    results = []
    for shape in SHAPES:
        for name in ("gelu", "gelu_tanh"):
            y, slope, dx = (draw.empty(*shape) for _ in range(3))
            run(name, draw.normal(*shape), y, slope)
            run("gelu_dx", slope, draw.normal(*shape), dx)
            results += [y, slope, dx]
    return results


@covers("swiglu", "swiglu_dx")
def swiglu(draw, run):
    results = []
    for m, c in ((0, 3), (9, 33), (3, 64)):
        x, y, dx = draw.normal(m, 2 * c), draw.empty(m, c), draw.empty(m, 2 * c)
        run("swiglu", x, y)
        run("swiglu_dx", x, draw.normal(m, c), dx)
        results += [y, dx]
    return results


@covers("dropout_mask", "dropout", "dropout_dx")
def dropout(draw, run):
    mask, x, y = draw.empty(7, 40), draw.normal(7, 5, 8), draw.empty(7, 5, 8)
    run("dropout_mask", mask, 0.3, (12, 3, 5, 2**33))
    masks, dx = Masks(0.3, (12, 3, 5, 2**33)), draw.normal(7, 5, 8)
    kept = run("dropout", x, masks, y, lambda name, shape, dtype: draw.empty(*shape))
    run("dropout_dx", dx, masks, kept, dx)
    return [mask, y, dx]

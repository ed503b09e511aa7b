"""Convolutions and pools."""

import numpy as np

from mpitrain.ops.batchnorm import Norm
from mpitrain.ops.conv2d import plan_conv2d
from mpitrain.ops.gradient import Gradient
from mpitrain.ops.window import Window
from tests.op_cases.registry import covers


@covers("conv2d", "conv2d_dx", "conv2d_dw", "conv2d_db")
def conv2d(draw, run):
    results = []
    for window, groups, channels, outputs in (
        (Window((5, 5)), 1, 3, 6),
        (Window((3, 3), padding=(1, 1)), 1, 16, 16),  # Winograd in C
        (Window((3, 2), (2, 1), (1, 0), (1, 2)), 1, 4, 5),
        (Window((3, 3), padding=(1, 1)), 2, 6, 4),
        (Window((3, 3), padding=(1, 1)), 8, 8, 8),
        (Window((1, 1)), 1, 7, 3),
    ):
        for n in (0, 2):
            plan = plan_conv2d(window, (9, 8), groups, channels, outputs)
            x, w, b = draw.normal(n, 9, 8, channels), draw.normal(*window.kernel, channels // groups, outputs), None
            y, dy = draw.empty(n, *plan.output, outputs), draw.normal(n, *plan.output, outputs)
            dx, dw, db = draw.empty(*x.shape), draw.empty(*w.shape), draw.empty(outputs)
            run("conv2d", x, w, draw.normal(outputs) if groups < 3 else b, y, plan)
            run("conv2d_dx", dy, w, dx, plan)
            for accumulate in (False, True):
                run("conv2d_dw", x, dy, dw, plan, accumulate)
                run("conv2d_db", dy, db, accumulate)
            results += [y, dx, dw, db]
    return results


@covers("conv2d_add_relu", "conv2d_dx_add", "conv2d_dx_relu", "conv2d_db_relu")
def conv2d_with_relu(draw, run):
    """Convolutions with what follows them, and dx through what comes before; most have one class of pixels, a group."""
    results = []
    for window, groups, channels, outputs in (
        (Window((3, 3), padding=(1, 1)), 1, 3, 6),
        (Window((3, 2), (2, 1), (1, 0)), 1, 4, 5),
        (Window((3, 3), padding=(1, 1)), 2, 6, 4),
        (Window((3, 3), padding=(1, 1)), 8, 8, 8),
        (Window((1, 1)), 1, 7, 3),
    ):
        for n in (0, 2):
            plan = plan_conv2d(window, (9, 8), groups, channels, outputs)
            x, w = draw.normal(n, 9, 8, channels), draw.normal(*window.kernel, channels // groups, outputs)
            sizes = n, *plan.output, outputs
            for b, residual, relu in (
                (draw.normal(outputs), None, True),
                (None, draw.normal(*sizes), True),
                (draw.normal(outputs), draw.normal(*sizes), False),
            ):
                results.append(draw.empty(*sizes))
                run("conv2d_add_relu", x, w, b, residual, results[-1], plan, relu)
            dy, dx, db = draw.normal(*sizes), draw.empty(*x.shape), draw.normal(channels)
            run("conv2d_dx_add", dy, w, draw.normal(*x.shape), dx, plan)
            results.append(dx.copy())
            for gradient in (None, Gradient(db, True), Gradient(draw.empty(channels), False)):
                run("conv2d_dx_relu", dy, w, x, dx, gradient, plan)
                results += [dx.copy()] if gradient is None else [dx.copy(), gradient.array.copy()]
            for gradient in (None, Gradient(draw.normal(outputs), True), Gradient(draw.empty(outputs), False)):
                dy = draw.normal(*sizes)
                run("conv2d_db_relu", draw.normal(*sizes), dy, gradient)
                results += [dy] if gradient is None else [dy, gradient.array]
    return results


@covers("conv2d_moments")
def conv2d_moments(draw, run):
    """With batch normalization after it, which takes the moments or makes a pass."""
    results = []
    for window, groups, channels, c, n in (
        (Window((3, 3), (2, 1), (1, 1)), 1, 3, 6, 5),
        (Window((1, 1)), 1, 7, 3, 5),
        (Window((3, 3), padding=(1, 1)), 2, 4, 10, 9),
    ):
        plan = plan_conv2d(window, (9, 8), groups, channels, c)
        x, w = draw.normal(n, 9, 8, channels), draw.normal(*window.kernel, channels // groups, c)
        y, z = draw.empty(n, *plan.output, c), draw.empty(n, *plan.output, c)
        moments = run("conv2d_moments", x, w, draw.normal(c), y, plan, draw.keep)
        states = draw.normal(c), draw.device.from_host(np.ones(c, draw.dtype))
        norm = Norm(draw.normal(c), draw.normal(c), *states, 0.1, 1e-5, True, None)
        run("batchnorm_train", y, norm, z, draw.keep, moments)
        results += [y, z, *states]
    return results


@covers("max_pool", "max_pool_argmax", "max_pool_dx", "mean_pool", "mean_pool_dx")
def pools(draw, run):
    results = []
    for window in (Window((2, 2), (2, 2)), Window((3, 3), (3, 3), (1, 1)), Window((1, 2), (2, 2))):
        n, (oh, ow) = 2, window.output((7, 6))
        x = draw.normal(n, 7, 6, 5)
        for relu in (False, True):
            y, again = draw.empty(n, oh, ow, 5), draw.empty(n, oh, ow, 5)
            argmax, dx = draw.empty(n, oh, ow, 5, dtype=np.uint8), draw.empty(*x.shape)
            run("max_pool", x, window, again, relu)
            run("max_pool_argmax", x, window, y, argmax, relu)
            run("max_pool_dx", argmax, draw.normal(n, oh, ow, 5), window, dx)
            results += [again, y, argmax, dx]
        y, dx = draw.empty(n, oh, ow, 5), draw.empty(*x.shape)
        run("mean_pool", x, window, y)
        run("mean_pool_dx", draw.normal(n, oh, ow, 5), window, dx)
        results += [y, dx]
    return results


@covers("global_mean", "global_mean_dx")
def global_mean(draw, run):
    y, dx = draw.empty(3, 6), draw.empty(3, 4, 5, 6)
    run("global_mean", draw.normal(3, 4, 5, 6), y)
    run("global_mean_dx", draw.normal(3, 6), dx)
    return [y, dx]
